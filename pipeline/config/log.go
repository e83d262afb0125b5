package config

import (
	"io"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/schemas/printable"
)

// Logger returns the logger that the configuration asks for.
func (c Log) Logger(out io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel // Validate has refused other words
	}
	if c.Format == "console" {
		out = zerolog.ConsoleWriter{
			Out: out, TimeFormat: time.TimeOnly, NoColor: !printable.IsTerminal(out),
			FormatPrepare: func(event map[string]any) error { // fields it quotes by itself
				if text, ok := event[zerolog.MessageFieldName].(string); ok {
					event[zerolog.MessageFieldName] = printable.Text(text)
				}
				return nil
			},
		}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}
