//go:build !cgo

package onnx

import (
	"context"
	"errors"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/inference"
)

var errNoCgo = errors.New("this millrace was built without cgo, which ONNX Runtime needs: build it again with CGO_ENABLED=1 and gcc")

// Runtime executes ONNX models.
type Runtime struct {
	Log zerolog.Logger
}

// NewInstance fails: this build has no cgo.
func (Runtime) NewInstance(context.Context, *inference.Model, memory.Allocator) (inference.Instance, error) {
	return nil, errNoCgo
}

// Describe fails: this build has no cgo.
func Describe(string) (*Graph, error) { return nil, errNoCgo }

func inspect(string, bool) (*Graph, []error, error) { return nil, nil, errNoCgo }
