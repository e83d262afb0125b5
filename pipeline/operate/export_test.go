package operate

import (
	"context"

	"github.com/millrace/millrace/schemas"
)

var HandOver = handOver

// Learn completes the text of a manifest by data, but for what takes a model: it returns what the
// manifest has become, the event times, and what a person is to look at. served says that the
// version was there before.
func Learn(ctx context.Context, text []byte, o DataOptions, served bool) (m *schemas.Manifest, times []int64, look []string, err error) {
	t, err := o.read(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	l := &learner{o: o, t: t, served: served}
	times, err = l.manifest(text)
	return l.m, times, l.look, err
}
