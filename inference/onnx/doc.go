// Package onnx executes ONNX graphs with ONNX Runtime, a native library that is loaded
// when the first model is and that package native has checked. It is the only package that imports
// onnxruntime_go; built without cgo, everything in it fails with a sentence that says so.
//
// An instance is one session of one thread. It plans once, at load: which feature goes
// into which element of which input tensor, and which element of which output tensor
// becomes which column. A batch is then cut into runs of the size that the manifest
// prefers or that was measured to be the fastest; features are gathered column by column
// into tensors that are reused, so that nothing is allocated per row.
//
// Tensors are [rows, features] or [rows] going in, and [rows, columns] or [rows] coming
// out, where several dimensions after the rows count as columns; rows may be a fixed number,
// and short runs are then padded. Element types are float, double, int64, int32, bool and
// string. What is of another type, or a sequence, is converted by a few nodes that are added
// to the graph in memory (see rewrite): float16 and bfloat16 are float here, narrow and
// unsigned integers int32 or int64, with their ranges checked. The shapes of outputs are those
// that a few runs gave at load, whatever the graph declares.
//
//	feature                   numeric tensor                 bool tensor   string tensor
//	number                    cast, see below                -             -
//	number, null              NaN                            -             -
//	bool                      0 or 1                         itself        -
//	category                  index in its categories        -             itself
//	category, unknown         -1                             -             itself
//	category, null            -1                             -             ""
//	string                    -                              -             itself, null: ""
//
// A float64 is rounded to a float tensor, and infinite there if it is beyond float32, which
// fails its row where the graph is of float16; integers that a float tensor cannot count (from 2^24 on, double: 2^53) are rounded too.
// What would be cut is refused at load: floats to an integer tensor, int64 to int32.
//
// Strings reach the runtime up to their first NUL character.
//
// A run that fails is split in halves until the rows that fail are alone. Where a row that
// was scored before fails as well, no row is to blame, and Predict returns an error.
package onnx
