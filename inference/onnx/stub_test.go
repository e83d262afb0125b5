//go:build !cgo

package onnx_test

import (
	"context"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
)

func TestWithoutCgo(t *testing.T) {
	var runtime inference.Runtime = onnx.Runtime{}
	_, err := runtime.NewInstance(context.Background(), &inference.Model{}, memory.DefaultAllocator)
	require.ErrorContains(t, err, "built without cgo")
	_, err = onnx.Init("model.onnx", "", "", 0)
	require.ErrorContains(t, err, "CGO_ENABLED=1")
}
