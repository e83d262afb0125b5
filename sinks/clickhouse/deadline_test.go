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
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
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
	return openThrough(t, c, d), d
}

func openThrough(t *testing.T, c *clickhouse.Client, proxy http.Handler) *clickhouse.Client {
	t.Helper()
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return clickhousetest.OpenAt(t, schemas.Storage{Database: c.Database(), TTLDays: 3650}, strings.TrimPrefix(server.URL, "http://"))
}

// silent is a proxy that passes every statement on, and keeps the answers to some to itself.
type silent struct {
	delaying
	to       atomic.Value // string: how they begin; "" is none
	silences atomic.Int64
}

// ServeHTTP implements http.Handler.
func (s *silent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	to := s.to.Load().(string)
	if to == "" || !strings.HasPrefix(r.URL.Query().Get("query"), to) && !strings.HasPrefix(string(body), to) {
		s.delaying.ServeHTTP(w, r)
		return
	}
	s.delaying.ServeHTTP(httptest.NewRecorder(), r)
	s.silences.Add(1)
	<-r.Context().Done() // until its client has had enough
}

// oneOfEach returns records for every table.
func oneOfEach(t *testing.T) []schemas.Record {
	t.Helper()
	topics := schemas.DefaultTopics()
	records := storetest.ReplayRecords(t)
	for i := range 3 {
		records = append(records,
			observetest.Record(topics.Feedback, int64(i), nil, []byte(`{"model":"flights","request_id":"`+strconv.Itoa(i)+`","label":1}`)),
			observetest.Record(topics.Events, int64(i), nil, []byte(`{"id":"e","type":"t","time":"2026-11-22T00:00:00Z","data":{}}`)),
			observetest.Record(topics.DeadLetters, int64(i), nil, []byte("x")))
	}
	return records
}

// requireEach checks that the rows of oneOfEach are stored once.
func requireEach(t *testing.T, c *clickhouse.Client) {
	t.Helper()
	storetest.RequireExact(t, c, storetest.ReplayRows)
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
			s := storetest.NewHasty(t, through)
			records := oneOfEach(t)
			_, err := storetest.New(t, c).Store(t.Context(), records[len(records)-1:], false) // the tables are warm
			require.NoError(t, err)
			require.NoError(t, c.Exec(t.Context(), "TRUNCATE TABLE "+c.Database()+".dead_letters"))
			for i, table := range []string{"observations_flights", "feedback", "events", "dead_letters"} {
				proxy.delay(table)
				_, err := s.Store(t.Context(), records, i > 0)
				require.ErrorContains(t, err, "502")
				proxy.delay("")
				require.Len(t, proxy.kept, i+1)
				if late {
					require.NoError(t, s.Settle(t.Context(), schemas.Lease{}))
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

// A connection that goes silent holds a try for a bounded time. What the try was at is done
// all the same, and the next one finds it.
func TestAnswersThatNeverCome(t *testing.T) {
	const soon = time.Second // no other statement of the kind takes as long
	for name, tc := range map[string]struct {
		to             string
		answer, insert time.Duration
	}{
		"insert": {"INSERT INTO {db}.observations_flights ", time.Minute, soon},
		"count":  {"SELECT count() AS rows FROM {db}.observations_flights ", soon, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clickhousetest.Client(t)
			proxy := &silent{delaying: delaying{TB: t}}
			proxy.to.Store("")
			through := openThrough(t, c, proxy)
			s := storetest.NewHasty(t, through)
			records := oneOfEach(t)
			_, err := s.Store(t.Context(), records, false) // the tables are known
			require.NoError(t, err)
			for _, table := range []string{"observations_flights", "minute_states", "feedback", "events", "dead_letters"} {
				require.NoError(t, c.Exec(t.Context(), "TRUNCATE TABLE "+c.Database()+"."+table))
			}
			at, err := s.Now(t.Context())
			require.NoError(t, err)

			clickhouse.SetTimeouts(through, tc.answer, tc.insert)
			proxy.to.Store(strings.ReplaceAll(tc.to, "{db}", c.Database()))
			_, err = s.Bare.Store(t.Context(), records, false, schemas.Lease{Announced: at, Deadline: at.Add(2 * storetest.HastyLease)})
			require.ErrorContains(t, err, "no answer within 1s")
			require.EqualValues(t, 1, proxy.silences.Load())
			proxy.to.Store("")
			clickhouse.SetTimeouts(through, time.Minute, time.Minute)

			stats, err := s.Store(t.Context(), records, true)
			require.NoError(t, err)
			require.Equal(t, storetest.ReplayRows, stats.Present)
			requireEach(t, c)
			after, err := s.Now(t.Context())
			require.NoError(t, err)
			require.Greater(t, after.Sub(at), 2*storetest.HastyLease, "the end of the try was unknown until then")
		})
	}
}

// Who asks for the time, or for what still runs, gets an error from a silent server.
func TestQuestionsWithoutAnswer(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	proxy := &silent{delaying: delaying{TB: t}}
	proxy.to.Store("")
	through := openThrough(t, c, proxy)
	s := storetest.NewHasty(t, through)
	at, err := s.Now(t.Context())
	require.NoError(t, err)
	clickhouse.SetTimeouts(through, time.Second, time.Minute)
	proxy.to.Store("SELECT now64(")
	_, err = s.Now(t.Context())
	require.ErrorContains(t, err, "read the clock of clickhouse: no answer within 1s")
	require.ErrorContains(t, s.Settle(t.Context(), schemas.Lease{Announced: at, Deadline: at}), "no answer within 1s")
	proxy.to.Store("SELECT query_id FROM system.processes")
	_, err = s.Bare.Store(t.Context(), oneOfEach(t), true, schemas.Lease{Announced: at, Deadline: at.Add(time.Minute)})
	require.ErrorContains(t, err, "that still run: no answer within 1s")
	require.EqualValues(t, 3, proxy.silences.Load())
}

// What any server may know is asked of each in turn: none is passed over since it is silent, and none
// is asked once the answer is known.
func TestEachServerIsAsked(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	proxy := &silent{delaying: delaying{TB: t}}
	proxy.to.Store("")
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	second := strings.TrimPrefix(server.URL, "http://")
	both := clickhousetest.OpenAt(t, schemas.Storage{Database: c.Database(), TTLDays: 3650}, clickhousetest.Addr(), second)
	var rows []struct {
		N uint8 `ch:"n"`
	}
	ask := func(most int) (asked int) {
		require.NoError(t, both.AskEach(t.Context(), &rows, func() bool {
			asked++
			require.Len(t, rows, 1, "of this server alone")
			return asked == most
		}, "SELECT ? AS n", 1))
		return asked
	}
	require.Equal(t, 2, ask(0))
	clickhouse.SetTimeouts(both, time.Second, time.Minute)
	proxy.to.Store("SELECT")
	require.Equal(t, 1, ask(1))
	s := storetest.New(t, both)
	_, err := s.Empty(t.Context(), schemas.DefaultTopics().Observations)
	require.ErrorContains(t, err, second+": no answer within 1s")
	_, err = s.Owner(t.Context(), "t", uuid.New())
	require.ErrorContains(t, err, second+": no answer within 1s")
	require.EqualValues(t, 2, proxy.silences.Load())
}

// The repair of minutes is two statements, and either may be delayed until long after the
// minutes were repaired by another try.
func TestDelayedRepairs(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	through, proxy := throughProxy(t, c)
	s := storetest.NewHasty(t, through)
	records := storetest.ReplayRecords(t)
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
	storetest.RequireExact(t, c, storetest.ReplayRows)
	require.NoError(t, c.Exec(t.Context(), "DELETE FROM "+c.Database()+".minute_states WHERE 1"))
	proxy.delay("minute_states")
	_, err = s.Store(t.Context(), records, true) // its INSERT is delayed: there is nothing to delete
	require.ErrorContains(t, err, "502")
	proxy.delay("")
	_, err = s.Store(t.Context(), records, true)
	require.NoError(t, err)
	storetest.RequireExact(t, c, storetest.ReplayRows)
	require.Len(t, proxy.kept, 2)
	for _, again := range proxy.kept {
		again()
		storetest.RequireExact(t, c, storetest.ReplayRows)
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
	s := storetest.NewHasty(t, c)
	at, err := s.Now(t.Context())
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, s.Settle(short, storetest.LeaseTo(at.Add(-time.Hour))))
	require.NoError(t, s.Settle(short, storetest.LeaseTo(at.Add(time.Second))))
	after, err := s.Now(t.Context())
	require.NoError(t, err)
	require.Greater(t, after.Sub(at), time.Second)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Settle(ended, storetest.LeaseTo(after.Add(time.Hour))), context.Canceled)
}
