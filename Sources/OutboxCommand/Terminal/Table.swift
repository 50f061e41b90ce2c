// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// Rows in columns, for people: as wide as they need to be, numbers to the right, no lines and no colours.
struct Table {
    private let titles: [String]
    private let alignedRight: Set<Int>
    private var rows: [[String]] = []

    /// - Parameter right: the positions of the columns of numbers.
    init(_ titles: String..., right: Set<Int> = []) { self.init(titles: titles, right: right) }

    init(titles: [String], right: Set<Int>) {
        self.titles = titles
        alignedRight = right
    }

    var isEmpty: Bool { rows.isEmpty }

    mutating func add(_ cells: String...) { add(cells: cells) }

    mutating func add(cells: [String]) { rows.append(cells.map(printable)) }

    /// The lines, titles first, each with its line feed.
    var text: String {
        let lines = [titles] + rows
        let widths = titles.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        return lines.map { cells in
            var line = ""
            for (column, cell) in cells.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                if column > 0 { line += "  " }
                line += alignedRight.contains(column) ? padding + cell : cell + padding
            }
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }.joined()
    }
}

/// The beginning of a text, with a mark where something was cut.
func cut(_ text: String, to width: Int) -> String {
    text.count <= width ? text : text.prefix(width - 1) + "…"
}
