package supervisor

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"

	"github.com/rs/zerolog"
)

const (
	maxLine   = 64 << 10 // bytes; a longer line is cut in pieces
	tailLines = 20
)

// output turns what a child writes into log events, and remembers its last lines. A line
// that is a zerolog event keeps its level, message and fields. Safe for concurrent use.
type output struct {
	log zerolog.Logger

	mu   sync.Mutex
	part []byte
	last []string
}

// Write implements io.Writer. It never fails.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.part = append(o.part, b...)
	for {
		i := bytes.IndexByte(o.part, '\n')
		if i < 0 && len(o.part) < maxLine {
			return len(b), nil
		}
		if i < 0 || i > maxLine {
			o.line(o.part[:maxLine])
			o.part = o.part[maxLine:]
			continue
		}
		o.line(o.part[:i])
		o.part = o.part[i+1:]
	}
}

// tail ends the last line and returns the last lines, indented, for an error message.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line(o.part)
	o.part = nil
	if len(o.last) == 0 {
		return "; it wrote nothing"
	}
	return "; it last wrote:\n\t" + strings.Join(o.last, "\n\t")
}

func (o *output) line(line []byte) {
	line = bytes.TrimRight(line, "\r")
	if len(line) == 0 {
		return
	}
	if len(o.last) == tailLines {
		o.last = o.last[1:]
	}
	o.last = append(o.last, string(line))

	var fields map[string]json.RawMessage
	if json.Unmarshal(line, &fields) != nil {
		o.log.Info().Bytes("line", line).Msg("child output")
		return
	}
	level := zerolog.InfoLevel
	if l, err := zerolog.ParseLevel(text(fields[zerolog.LevelFieldName])); err == nil && l != zerolog.NoLevel {
		level = l
	}
	message := text(fields[zerolog.MessageFieldName])
	for _, name := range []string{zerolog.LevelFieldName, zerolog.MessageFieldName, zerolog.TimestampFieldName} {
		delete(fields, name)
	}
	event := o.log.WithLevel(level) // unlike Fatal and Panic, only writes
	for name, value := range fields {
		event.RawJSON(name, value)
	}
	event.Msg(message)
}

// text returns a JSON string's value, or "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}
