package clickhouse_test

import (
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

// A recorder that knows less changes the view of the minutes between the statements of one that knows
// more, and looks again when that one has ended: the view has all versions then.
func TestViewOfMinutesIsNotLeftToWhoKnewLess(t *testing.T) {
	c := clickhousetest.Client(t)
	schema := func(version string) *arrow.Schema {
		m := observetest.Manifest("flights", version)
		if version > "v1" {
			m.Target.Score = "label"
		}
		return m.ObservationSchema()
	}
	require.NoError(t, c.EnsureTable(t.Context(), schema("v1")))
	var (
		waits            = make(chan struct{}) // the first stands before its change of the view
		changed          = make(chan struct{}) // the second has changed it
		looks            = make(chan struct{}) // the first looks whether there are more versions
		ended            = make(chan struct{}) // the second has ended
		held, asks, over bool
	)
	wait := func(what string, ch chan struct{}) {
		select {
		case <-ch:
		case <-time.After(30 * time.Second):
			t.Errorf("no end of: %s", what)
		}
	}
	storage := schemas.Storage{Database: c.Database(), TTLDays: 3650}
	first := through(t, storage, &statements{hold: func(statement string, _ bool) {
		switch {
		case !held && strings.Contains(statement, "MODIFY QUERY"):
			held = true
			close(waits)
			wait("the second changes the view", changed)
		case held && !asks && strings.HasPrefix(statement, "SELECT model, version, score"):
			asks = true
			close(looks)
			wait("the second ends", ended)
		}
	}})
	second := through(t, storage, &statements{hold: func(statement string, answered bool) {
		if !over && answered && strings.Contains(statement, "MODIFY QUERY") {
			over = true
			close(changed)
			wait("the first looks", looks)
		}
	}})
	failed := make(chan error, 1)
	go func() { failed <- first.EnsureTable(t.Context(), schema("v2")) }() // ends with its statements
	wait("the first changes the view", waits)
	require.NoError(t, second.EnsureTable(t.Context(), schema("v3")))
	close(ended)
	require.NoError(t, <-failed)
	var views []struct {
		Query string `ch:"query"`
	}
	require.NoError(t, c.Select(t.Context(), &views, "SELECT create_table_query AS query FROM system.tables WHERE database = ? AND name = 'minute_states_of_flights'", c.Database()))
	require.Len(t, views, 1)
	require.Contains(t, views[0].Query, "'v2', 'v3'")
}
