package clickhouse_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

// delaying is a proxy that answers 502 to statements that change a table, and keeps them.
type delaying struct {
	testing.TB
	mu    sync.Mutex
	table string                             // "" is none
	kept  []func() (status int, body string) // send the inserts on
}

// delay begins to delay changes of a table, and no others.
func (d *delaying) delay(table string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.table = table
}

// delays tells whether a statement is to be delayed.
func (d *delaying) delays(statement string) bool {
	return d.table != "" && (strings.HasPrefix(statement, "INSERT INTO ") || strings.HasPrefix(statement, "DELETE FROM ")) &&
		strings.HasSuffix(strings.Fields(statement)[2], "."+d.table)
}

// ServeHTTP implements http.Handler.
func (d *delaying) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	send := func() (*http.Response, error) {
		out, err := http.NewRequestWithContext(context.Background(), r.Method, "http://"+clickhousetest.Addr()+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		out.Header = r.Header.Clone()
		return http.DefaultClient.Do(out)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.delays(r.URL.Query().Get("query")) || d.delays(string(body)) { // repairs have it in the body
		d.kept = append(d.kept, func() (int, string) {
			resp, err := send()
			require.NoError(d, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(d, err)
			return resp.StatusCode, string(text)
		})
		http.Error(w, "upstream timed out", http.StatusBadGateway)
		return
	}
	resp, err := send()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // fails when the client has gone
}

// throughProxy returns a client of c's database whose inserts the proxy may delay.
func throughProxy(t *testing.T, c *clickhouse.Client) (*clickhouse.Client, *delaying) {
	t.Helper()
	d := &delaying{TB: t}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	return clickhousetest.OpenAt(t, schemas.Storage{Database: c.Database(), TTLDays: 3650}, strings.TrimPrefix(server.URL, "http://")), d
}

// oneOfEach returns records for every table.
func oneOfEach(t *testing.T) []schemas.Record {
	t.Helper()
	topics := schemas.DefaultTopics()
	records := replayRecords(t)
	for i := range 3 {
		records = append(records,
			clickhousetest.Record(topics.Feedback, int64(i), nil, []byte(`{"model":"flights","request_id":"`+strconv.Itoa(i)+`","label":1}`)),
			clickhousetest.Record(topics.Events, int64(i), nil, []byte(`{"id":"e","type":"t","time":"2026-11-22T00:00:00Z","data":{}}`)),
			clickhousetest.Record(topics.DeadLetters, int64(i), nil, []byte("x")))
	}
	return records
}

// requireEach checks that the rows of oneOfEach are stored once.
func requireEach(t *testing.T, c *clickhouse.Client) {
	t.Helper()
	requireExact(t, c, rowsOfReplay)
	for _, table := range []string{"feedback", "events", "dead_letters"} {
		require.EqualValues(t, 3, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}."+table), table)
	}
}

// Each insert of a call is delayed in turn: its client sees an error, and it reaches the
// server before the replay may look, or after it.
func TestDelayedInserts(t *testing.T) {
	for name, late := range map[string]bool{"before the deadline": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clickhousetest.Client(t)
			through, proxy := throughProxy(t, c)
			s := newStore(t, through)
			records := oneOfEach(t)
			_, err := newStore(t, c).Store(t.Context(), records[len(records)-1:], false) // the tables are warm
			require.NoError(t, err)
			require.NoError(t, c.Exec(t.Context(), "TRUNCATE TABLE "+c.Database()+".dead_letters"))
			for i, table := range []string{"observations_flights", "feedback", "events", "dead_letters"} {
				proxy.delay(table)
				_, err := s.Store(t.Context(), records, i > 0)
				require.ErrorContains(t, err, "502")
				proxy.delay("")
				require.Len(t, proxy.kept, i+1)
				if late {
					require.NoError(t, s.Settle(t.Context(), time.Time{}))
				}
				status, text := proxy.kept[i]()
				if late {
					require.Equal(t, http.StatusInternalServerError, status)
					require.Contains(t, text, "the deadline of this insert has passed")
				} else if status != http.StatusOK { // a slow machine
					require.Contains(t, text, "the deadline of this insert has passed")
				}
			}
			_, err = s.Store(t.Context(), records, true)
			require.NoError(t, err)
			requireEach(t, c)
			for _, again := range proxy.kept { // all of them once more, after their deadlines
				status, text := again()
				require.Equal(t, http.StatusInternalServerError, status, text)
			}
			requireEach(t, c)
		})
	}
}

// The repair of minutes is two statements, and either may be delayed until long after the
// minutes were repaired by another try.
func TestDelayedRepairs(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	through, proxy := throughProxy(t, c)
	s := newStore(t, through)
	records := replayRecords(t)
	_, err := s.Store(t.Context(), records, false)
	require.NoError(t, err)
	insert := strings.ReplaceAll("INSERT INTO {db}.minute_states ("+schemas.MinuteStatesColumns+") SELECT "+schemas.MinuteStatesColumns+" FROM {db}.minute_states", "{db}", c.Database())
	require.NoError(t, c.Exec(t.Context(), insert)) // counted twice
	proxy.delay("minute_states")
	_, err = s.Store(t.Context(), records, true) // its DELETE is delayed
	require.ErrorContains(t, err, "502")
	proxy.delay("")
	stats, err := s.Store(t.Context(), records, true)
	require.NoError(t, err)
	require.NotZero(t, stats.Repaired)
	requireExact(t, c, rowsOfReplay)
	require.NoError(t, c.Exec(t.Context(), "DELETE FROM "+c.Database()+".minute_states WHERE 1"))
	proxy.delay("minute_states")
	_, err = s.Store(t.Context(), records, true) // its INSERT is delayed: there is nothing to delete
	require.ErrorContains(t, err, "502")
	proxy.delay("")
	_, err = s.Store(t.Context(), records, true)
	require.NoError(t, err)
	requireExact(t, c, rowsOfReplay)
	require.Len(t, proxy.kept, 2)
	for _, again := range proxy.kept {
		again()
		requireExact(t, c, rowsOfReplay)
	}
}

// The argument in deadline.go needs that a query is in system.processes when it reads the
// clock, which it does while it is planned.
func TestPlanningIsInProcesses(t *testing.T) {
	c := clickhousetest.Client(t)
	require.NoError(t, c.Exec(t.Context(), "CREATE TABLE "+c.Database()+".planned (n UInt64) ENGINE = Memory"))
	require.NoError(t, c.Exec(t.Context(), "INSERT INTO "+c.Database()+".planned SELECT number FROM numbers(3) WHERE (SELECT count() FROM system.processes WHERE query_id = queryID() AND query_kind = 'Insert') = 1"))
	require.EqualValues(t, 3, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.planned"))
}

// A deadline of long ago is not waited for, and one of the future until the server's clock
// has passed it.
func TestSettle(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	s := newStore(t, c)
	at, err := s.Now(t.Context())
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, s.Settle(short, at.Add(-time.Hour)))
	require.NoError(t, s.Settle(short, at.Add(time.Second)))
	after, err := s.Now(t.Context())
	require.NoError(t, err)
	require.Greater(t, after.Sub(at), time.Second)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Settle(ended, after.Add(time.Hour)), context.Canceled)
}
