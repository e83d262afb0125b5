package supervisor

import (
	"io"

	"github.com/rs/zerolog"
)

// NewOutput returns the writer of a child's output and its tail.
func NewOutput(log zerolog.Logger) (io.Writer, func() string) {
	o := &output{log: log}
	return o, o.tail
}
