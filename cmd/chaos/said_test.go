package main

import (
	"regexp"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/supervisor"
)

// TestMissingRefusalIsFound: a role that says nothing, too little, too quietly, too early, or
// goes on as if nothing were wrong is found.
func TestMissingRefusalIsFound(t *testing.T) {
	addr, _, err := supervisor.FreePort("127.0.0.1:0")
	require.NoError(t, err)
	p, err := newProcess(t.TempDir(), "recorder-0", true, childRole, "roles=recorder", "http.addr="+addr, "kafka.brokers=127.0.0.1:1", "clickhouse.addr=127.0.0.1:1")
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	c := &cluster{log: zerolog.Nop(), roles: map[string]*process{"recorder-0": p}}
	in := Incident{Kind: Rename, Target: recorder}
	hear := func(since mark, d demand) bool {
		d.of = []string{"recorder-0"}
		said, err := c.hear(t.Context(), in, since, d)
		require.NoError(t, err)
		return said != ""
	}
	silent := func(since mark, d demand) string {
		before := len(c.Findings())
		d.within = 100 * time.Millisecond
		require.False(t, hear(since, d))
		require.Len(t, c.Findings(), before+1)
		return c.Findings()[before].What
	}
	log := zerolog.New(p.logs)
	away := regexp.MustCompile(`connection refused`)

	// It does not run: what has ended refuses, if it has said why.
	require.Equal(t, `unsaid: after "rename recorder" none of ["recorder-0"] has said, by a role that is not ready, "stop the old one first"`,
		silent(nil, demand{words: oldOneFirst, level: zerolog.WarnLevel, refuses: true}))
	since := c.mark()
	log.Info().Msg("stop the old one first")
	silent(since, demand{words: oldOneFirst, level: zerolog.WarnLevel, refuses: true})
	require.True(t, hear(since, demand{words: oldOneFirst, level: zerolog.InfoLevel}))
	log.Error().Msg("stop the old one first")
	require.True(t, hear(since, demand{words: oldOneFirst, level: zerolog.WarnLevel, refuses: true}))
	silent(since, demand{words: oldOneFirst, level: zerolog.WarnLevel, refuses: true, lives: true})
	silent(c.mark(), demand{words: oldOneFirst, level: zerolog.InfoLevel})

	// It runs and is not ready, for the reason that is demanded and for no other.
	since = c.mark()
	require.NoError(t, p.Start(t.Context()))
	require.True(t, hear(since, demand{words: away, level: zerolog.WarnLevel, refuses: true}))
	log.Error().Msg("stop the old one first")
	require.Contains(t, silent(since, demand{words: oldOneFirst, level: zerolog.WarnLevel, refuses: true}), "by a role that is not ready")
	require.True(t, hear(since, demand{words: oldOneFirst, level: zerolog.WarnLevel}), "it need not refuse to work")
	require.Equal(t, 9, c.Demanded())
}
