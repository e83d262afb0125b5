// Package catalogtest has models for tests: graphs of inference/onnx/testdata with manifests, and
// requests to them.
package catalogtest
