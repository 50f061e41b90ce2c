// SPDX-License-Identifier: Apache-2.0
// Copyright the Outbox project authors

/// The object identifiers of the built-in types, which are the same in every database.
///
/// https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat
package enum PostgresType {
    /// Lets the server infer the type from where the parameter stands.
    package static let inferred: UInt32 = 0
    package static let bool: UInt32 = 16
    package static let bytea: UInt32 = 17
    package static let char: UInt32 = 18
    package static let name: UInt32 = 19
    package static let int8: UInt32 = 20
    package static let int2: UInt32 = 21
    package static let int4: UInt32 = 23
    package static let text: UInt32 = 25
    package static let oid: UInt32 = 26
    package static let json: UInt32 = 114
    package static let float4: UInt32 = 700
    package static let float8: UInt32 = 701
    package static let unknown: UInt32 = 705
    package static let bpchar: UInt32 = 1042
    package static let varchar: UInt32 = 1043
    package static let timestamptz: UInt32 = 1184
    package static let interval: UInt32 = 1186
    package static let uuid: UInt32 = 2950
    package static let jsonb: UInt32 = 3802
    package static let boolArray: UInt32 = 1000
    package static let byteaArray: UInt32 = 1001
    package static let int2Array: UInt32 = 1005
    package static let int4Array: UInt32 = 1007
    package static let textArray: UInt32 = 1009
    package static let int8Array: UInt32 = 1016
    package static let float8Array: UInt32 = 1022
    package static let timestamptzArray: UInt32 = 1185
    package static let intervalArray: UInt32 = 1187
    package static let uuidArray: UInt32 = 2951

    /// The name of a type for an error message.
    static func describe(_ type: UInt32) -> String {
        names[type].map { "\($0)" } ?? "the type with OID \(type)"
    }

    private static let names: [UInt32: String] = [
        bool: "bool", bytea: "bytea", char: "\"char\"", name: "name", int8: "int8", int2: "int2", int4: "int4",
        text: "text", oid: "oid", json: "json", float4: "float4", float8: "float8", unknown: "unknown",
        bpchar: "char(n)", varchar: "varchar", timestamptz: "timestamptz", interval: "interval", uuid: "uuid",
        jsonb: "jsonb", boolArray: "bool[]", byteaArray: "bytea[]", int2Array: "int2[]", int4Array: "int4[]",
        textArray: "text[]", int8Array: "int8[]", float8Array: "float8[]", uuidArray: "uuid[]",
        28: "xid", 1082: "date", 1114: "timestamp", 1700: "numeric", 1015: "varchar[]", 5069: "xid8", 2249: "record",
        869: "inet", 1231: "numeric[]", 1083: "time", 2278: "void", 2205: "regclass",
    ]
}
