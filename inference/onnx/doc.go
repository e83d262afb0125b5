// Package onnx executes ONNX graphs with ONNX Runtime, a native library that is loaded
// when the first model is (FindLibrary). It is the only package that imports
// onnxruntime_go; built without cgo, everything in it fails with a sentence that says so.
//
// An instance is one session of one thread. It plans once, at load: which feature goes
// into which element of which input tensor, and which element of which output tensor
// becomes which column. A batch is then cut into runs of the size that the manifest
// prefers or that was measured to be the fastest; features are gathered column by column
// into tensors that are reused, so that nothing is allocated per row.
//
// Tensors are [rows, features] or [rows] going in, and [rows, columns] or [rows] coming
// out; rows may be a fixed number, and short runs are then padded. Element types are
// float, double, int64, int32, bool and string:
//
//	feature                   numeric tensor                 bool tensor   string tensor
//	number                    cast                           -             -
//	number, null              NaN; -1 to an integer tensor   -             -
//	bool                      0 or 1                         itself        -
//	category                  index in its categories        -             itself
//	category, unknown         -1                             -             itself
//	category, null            -1                             -             ""
//	string                    -                              -             itself, null: ""
//
// Strings reach the runtime up to their first NUL character.
//
// A run that fails is split in halves until the rows that fail are alone.
package onnx
