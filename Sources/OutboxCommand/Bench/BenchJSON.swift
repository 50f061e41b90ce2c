// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

internal import OutboxBench
internal import OutboxCore

/// The results of all scenarios as one JSON value: `{"results": […]}`. What is not known is null.
enum BenchJSON {
    static func print(_ results: [ScenarioResult]) {
        printJSON { json in
            json.object { json in
                json.member("results") { json in
                    json.array { json in for result in results { write(result, to: &json) } }
                }
            }
        }
    }

    private static func write(_ result: ScenarioResult, to json: inout JSONWriter) {
        json.object { json in
            json.member("scenario", result.scenario)
            json.member("variant", result.variant)
            json.member("unit", result.unit)
            json.member("value") { write(result.value, to: &$0) }
            json.member("floor") { write(result.floor, to: &$0) }
            json.member("ratio") { write(result.ratio, to: &$0) }
            json.member("runs") { json in
                json.array { json in
                    for run in result.runs {
                        json.object { json in
                            json.member("value", run.value)
                            json.member("floor", run.floor ?? .nan)
                        }
                    }
                }
            }
            json.member("cost") { write(result.cost, to: &$0) }
            json.member("floor_cost") { json in
                guard let cost = result.floorCost else { return json.null() }
                write(cost, to: &json)
            }
            json.member("figures") { json in
                json.array { json in
                    for figure in result.figures {
                        json.object { json in
                            json.member("name", figure.name)
                            json.member("value", figure.value)
                            json.member("unit", figure.unit)
                        }
                    }
                }
            }
        }
    }

    private static func write(_ spread: Spread?, to json: inout JSONWriter) {
        guard let spread else { return json.null() }
        json.object { json in
            json.member("median", spread.median)
            json.member("min", spread.minimum)
            json.member("max", spread.maximum)
        }
    }

    private static func write(_ cost: Cost, to json: inout JSONWriter) {
        json.object { json in
            json.member("own_cpu_ms_per_1000", cost.ownCPU ?? .nan)
            json.member("postgres_cpu_ms_per_1000", cost.postgresCPU ?? .nan)
            json.member("wal_bytes_per_task", cost.walBytes ?? .nan)
            json.member("full_page_images_per_1000", cost.fullPageImages ?? .nan)
            json.member("buffers_per_claim", cost.claimBuffers ?? .nan)
            json.member("resident_bytes", cost.residentBytes ?? .nan)
        }
    }
}
