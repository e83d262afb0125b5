// Package codec turns request values into Arrow columns, predictions into result values, and
// feedback values into labels. All codecs but that of labels are planned once from a manifest; all
// work without allocating per record.
//
// A Decoder appends rows to columns and gives them out as one record batch; a ResultEncoder
// appends results to a byte slice; a LabelDecoder reads one label. None is safe for concurrent
// use: every lane has its own.
//
// New plans requests and results of a Codec. What a request means does not depend on it:
// fields are found by name, and types, defaults, ranges, categories and limits are the
// manifest's. It accepts
//
//   - JSON: one flat object, strictly.
//   - Avro: one record in binary, behind a zero byte and the four bytes of its schema's id.
//     Fields are found by name, else by alias. Numbers, booleans, strings, enums (by symbol),
//     bytes and fixed (as UTF-8) stand for features, and unions of them with null; null is
//     absent. The event time is a timestamp of milli-, micro- or nanoseconds, or as the
//     manifest's format has it. All else in the record is skipped.
//   - Protobuf: one message, behind the same header and its message indexes. Scalars, enums
//     (by name, or by number for whole numbers) and the wrappers of google.protobuf stand for
//     features. A field without presence that is not on the wire is zero, one with presence
//     is absent; defaults are the manifest's, not those of proto2. The event time may be a
//     google.protobuf.Timestamp. All else is skipped, fields of another wire type than the
//     schema's included.
//   - Arrow: a stream of many requests, see ArrowRequests.
//
// JSON has no NaN and no infinities. In the others NaN is what null is, and an infinity fits
// nothing. A schema that can never fit makes each of its requests a dead letter that says
// why. Results of Avro and Protobuf have a schema of their own, registered when they are
// planned: see AvroResultSchema and ProtobufResultSchema.
package codec
