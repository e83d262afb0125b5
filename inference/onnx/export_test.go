//go:build cgo

package onnx

import (
	"context"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	ort "github.com/yalue/onnxruntime_go"

	"github.com/millrace/millrace/inference"
)

// FailRuns makes each run of an instance ask before whether it fails.
func FailRuns(inst inference.Instance, fails func() error) {
	i := inst.(*instance)
	i.execute = func(b *ort.IoBinding) error {
		if err := fails(); err != nil {
			return err
		}
		return i.session.RunWithBinding(b)
	}
}

// FastestRows measures an instance whose runs take as long as takes says.
func FastestRows(inst inference.Instance, takes func(rows int) time.Duration) (int, error) {
	i := inst.(*instance)
	i.execute = func(*ort.IoBinding) error {
		time.Sleep(takes(i.rows))
		return nil
	}
	return i.fastestRows(context.Background(), memory.DefaultAllocator)
}
