//go:build cgo

package onnx

import (
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
