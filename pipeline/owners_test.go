package pipeline_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/jobs"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// judged are the tables that owners of models write, as they are read.
var judgedTables = []string{"drift_results", "accuracy_results", "windows", "label_looks"}

// ownersWorld is requests of three models, each of which belongs to another partition, and what a single monitor finds in
// them.
type ownersWorld struct {
	*harness
	want   []string
	events map[string]string // by id
	from   int               // events of earlier rounds
}

const (
	ownedModels = 3
	ownedHours  = 6 // of which the last stays open
)

func newOwnersWorld(t *testing.T) *ownersWorld {
	t.Helper()
	rnd := seeded(t)
	var models []catalogtest.Model
	taken := map[int32]bool{}
	for i := 0; len(models) < ownedModels; i++ {
		m := catalogtest.Fares
		m.Name = fmt.Sprintf("fares%d", i)
		if p := consumers.PartitionOf(m.Name, ownedModels); !taken[p] {
			taken[p], models = true, append(models, m)
		}
	}
	w := &ownersWorld{harness: newHarness(t, models, fastRestart, "recorder.flush_interval=20ms")}
	w.start("worker,recorder")
	var records []*kgo.Record
	var topics []string
	for _, m := range models {
		topics = append(topics, w.cfg.Topics.RequestsOf(m.Name))
		for hour := range ownedHours {
			for i := range 60 {
				id := fmt.Sprintf("%s-%d-%d", m.Name, hour, i)
				f := catalogtest.Fare{At: catalogtest.Epoch.Add(time.Duration(hour)*time.Hour + time.Duration(i)*time.Minute), Price: rnd.Float64(), Count: 1, Carrier: "UA"}
				if hour == 1 || hour == 3 {
					f.Price++
				}
				records = append(records,
					&kgo.Record{Topic: w.cfg.Topics.RequestsOf(m.Name), Partition: int32(i % 3), Value: f.JSON(), Headers: []kgo.RecordHeader{{Key: schemas.HeaderRequestID, Value: []byte(id)}}},
					&kgo.Record{Topic: w.cfg.Topics.Feedback, Key: []byte(id), Value: fmt.Appendf(nil, `{"model":%q,"label":%v}`, m.Name, rnd.IntN(2) == 0)})
			}
		}
	}
	w.produce(records...)
	w.settled(topics...)
	alone := w.start("monitor")
	w.complete()
	alone.drain()
	w.want, w.events = w.found(), w.published()
	require.NotEmpty(t, w.events)
	w.reset()
	return w
}

// reset forgets what was judged.
func (w *ownersWorld) reset() {
	w.Helper()
	for _, table := range judgedTables {
		w.exec("TRUNCATE TABLE millrace." + table)
	}
	w.from = len(w.read(w.cfg.Topics.Events))
}

func (w *ownersWorld) exec(statement string) {
	w.Helper()
	client, err := clickhouse.Open(w.config().ClickHouseOptions(w.log))
	require.NoError(w, err)
	defer client.Close()
	require.NoError(w, client.Exec(w.Context(), statement))
}

// complete waits until every closed window is judged by both jobs.
func (w *ownersWorld) complete() {
	w.Helper()
	w.eventually("every closed window is judged", func() (string, bool) {
		n := w.count("SELECT count() FROM millrace.windows FINAL WHERE job != 'report'")
		return strconv.Itoa(n), n >= 2*ownedModels*(ownedHours-1)
	})
	w.eventually("the labels are noted", func() (string, bool) {
		n := w.count("SELECT uniqExact(model) FROM millrace.label_looks")
		return strconv.Itoa(n), n == ownedModels
	})
}

func (w *ownersWorld) found() (all []string) {
	w.Helper()
	for _, q := range []string{
		"SELECT toString(tuple(model, window_start, revision, column, stattest, score, drifted, retrain, rows, missing)) AS text FROM millrace.drift_results FINAL ORDER BY text",
		"SELECT toString(tuple(model, window_start, revision, metric, value, breached, retrain, rows, labels)) AS text FROM millrace.accuracy_results FINAL ORDER BY text",
		"SELECT toString(tuple(model, job, window_start, window_end, revision, rows, labels, verdict, label_state, retraining)) AS text FROM millrace.windows FINAL WHERE job != 'report' ORDER BY text",
	} {
		for _, row := range w.sql(q) {
			all = append(all, row[0])
		}
	}
	return all
}

// published returns what the events since the last reset say. Repeated ones say the same.
func (w *ownersWorld) published() map[string]string {
	w.Helper()
	out := map[string]string{}
	for _, rec := range w.read(w.cfg.Topics.Events)[w.from:] {
		var e schemas.Event
		require.NoError(w, json.Unmarshal(rec.Value, &e))
		breaches, err := json.Marshal(e.Data.Breaches)
		require.NoError(w, err)
		text := fmt.Sprintf("%s %s %s %s", e.Subject, e.Data.WindowStart, e.Data.Kind, breaches)
		if was, ok := out[e.ID]; ok {
			require.Equal(w, was, text, "a repeated event says the same")
		}
		out[e.ID] = text
	}
	return out
}

// members waits until the group of owners has so many.
func (w *ownersWorld) members(n int) {
	w.Helper()
	w.eventually(fmt.Sprintf("%d processes share the models", n), func() (string, bool) {
		groups, err := w.admin.DescribeGroups(w.Context(), jobs.Group(w.cfg.Topics.Topics))
		require.NoError(w, err)
		g := groups[jobs.Group(w.cfg.Topics.Topics)]
		return fmt.Sprintf("%s %d", g.State, len(g.Members)), g.State == "Stable" && len(g.Members) == n
	})
}

// gatekeeper is a process's way to ClickHouse. At one of its inserts into judged tables it sends the process a signal,
// before or after it has passed the insert on. An insert before which the process was stopped it keeps.
type gatekeeper struct {
	*httputil.ReverseProxy
	signal syscall.Signal
	at     int
	after  bool

	mu      sync.Mutex
	pid     int
	inserts int
	met     chan struct{} // closed when the signal was sent
	release chan struct{} // closed when the kept insert is to be sent on
	late    chan int      // the status that it gets
}

func (g *gatekeeper) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	statement := r.URL.Query().Get("query")
	insert := false
	for _, table := range judgedTables {
		insert = insert || strings.HasPrefix(statement, "INSERT INTO millrace."+table+" ")
	}
	if !insert {
		g.ReverseProxy.ServeHTTP(rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	again := func() *http.Request { // outlives the process's connection
		c := r.Clone(r.Context())
		c.Body, c.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
		return c
	}
	g.mu.Lock()
	n, pid := g.inserts, g.pid
	g.inserts++
	g.mu.Unlock()
	if n != g.at {
		g.ReverseProxy.ServeHTTP(rw, again())
		return
	}
	answer := httptest.NewRecorder()
	if g.after {
		g.ReverseProxy.ServeHTTP(answer, again())
	}
	_ = syscall.Kill(pid, g.signal)
	close(g.met)
	if g.signal == syscall.SIGKILL {
		panic(http.ErrAbortHandler)
	}
	<-g.release
	if !g.after {
		g.ReverseProxy.ServeHTTP(answer, again())
	}
	g.late <- answer.Code
	rw.WriteHeader(answer.Code)
	_, _ = rw.Write(answer.Body.Bytes())
}

// round has a process killed or stopped at one of its inserts, while others are there or come then, and checks that in the
// end all is as a single monitor leaves it.
func (w *ownersWorld) round(t *testing.T, signal syscall.Signal, at int, after, together bool) {
	t.Helper()
	h := w.with(t)
	r := &ownersWorld{harness: h, want: w.want, events: w.events}
	r.reset()
	g := &gatekeeper{
		ReverseProxy: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: h.services.ClickHouse.Addr()}),
		signal:       signal, at: at, after: after, met: make(chan struct{}), release: make(chan struct{}), late: make(chan int, 1),
	}
	g.ErrorLog = nil
	front := httptest.NewServer(g)
	defer front.Close()
	var others []*process
	join := func() {
		for range 2 {
			others = append(others, h.spawn("monitor"))
		}
	}
	p := h.spawn("monitor", "clickhouse.addr="+strings.TrimPrefix(front.URL, "http://"))
	g.mu.Lock()
	g.pid = p.cmd.Process.Pid
	g.mu.Unlock()
	if together {
		join()
	}
	h.eventually("the process is met in the middle", func() (string, bool) {
		select {
		case <-g.met:
			return "", true
		default:
			g.mu.Lock()
			defer g.mu.Unlock()
			return strconv.Itoa(g.inserts), false
		}
	})
	if !together {
		join()
	}
	r.complete()
	if signal == syscall.SIGSTOP {
		close(g.release)
		if status := <-g.late; !after {
			require.NotEqual(t, http.StatusOK, status, "an insert that comes after the lease is refused")
		}
		require.NoError(t, syscall.Kill(g.pid, syscall.SIGCONT))
		r.members(3)
	}
	require.Equal(t, r.want, r.found())
	require.Equal(t, r.events, r.published())
	for _, o := range append(others, p) {
		o.kill()
	}
}

// TestOwnersKilledAnywhere kills and freezes one of three monitors at its writes: what is found, and what events say, is
// what a single monitor finds, and a frozen one that goes on writes nothing.
func TestOwnersKilledAnywhere(t *testing.T) {
	parallel(t)
	w := newOwnersWorld(t)
	type round struct {
		signal          syscall.Signal
		at              int
		after, together bool
	}
	rounds := []round{{syscall.SIGSTOP, 0, false, false}, {syscall.SIGKILL, 1, true, true}}
	if os.Getenv("MILLRACE_TEST_LONG") != "" {
		rounds = nil
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
			for at := range 4 { // results and windows of two jobs; a process that has but one partition comes no further
				for _, after := range []bool{false, true} {
					for _, together := range []bool{false, true} {
						rounds = append(rounds, round{signal, at, after, together})
					}
				}
			}
		}
	}
	for _, r := range rounds {
		t.Run(fmt.Sprintf("%s at %d, after %v, together %v", r.signal, r.at, r.after, r.together), func(t *testing.T) {
			w.round(t, r.signal, r.at, r.after, r.together)
		})
	}
}

// TestDriftRunBesideMonitors judges windows again while monitors run that judge late rows: no revision is taken by both.
func TestDriftRunBesideMonitors(t *testing.T) {
	parallel(t)
	w := newOwnersWorld(t)
	monitors := []*running{w.start("monitor"), w.start("monitor", "instance=other")}
	w.complete()
	model := w.models[0].Name
	judged, err := operate.JudgeAgain(t.Context(), w.config(), operate.JudgeOptions{Model: model, Logger: zerolog.Nop()})
	require.NoError(t, err)
	require.Len(t, judged.Windows, 2*(ownedHours-1))
	for _, j := range judged.Windows {
		require.Equal(t, uint32(1), j.Revision)
	}
	require.Equal(t, 2*(ownedHours-1), w.count("SELECT count() FROM millrace.windows FINAL WHERE revision = 1 AND job != 'report'"))
	require.Zero(t, w.count("SELECT count() FROM (SELECT job, window_start, revision FROM millrace.windows WHERE job != 'report' GROUP BY model, job, window_start, revision HAVING uniqExact(done_at) > 1)"),
		"no revision was made twice")
	// The monitors go on with the model.
	before := w.count("SELECT count() FROM millrace.windows FINAL WHERE model = '" + model + "' AND job = 'drift'")
	var late []*kgo.Record
	for i := range 60 {
		f := catalogtest.Fare{At: catalogtest.Epoch.Add((ownedHours+1)*time.Hour + time.Duration(i)*time.Second), Price: 0.5, Count: 1, Carrier: "UA"}
		late = append(late, &kgo.Record{Topic: w.cfg.Topics.RequestsOf(model), Partition: int32(i % 3), Value: f.JSON()})
	}
	w.produce(late...)
	w.eventually("the monitors go on with the model", func() (string, bool) {
		n := w.count("SELECT count() FROM millrace.windows FINAL WHERE model = '" + model + "' AND job = 'drift'")
		return strconv.Itoa(n), n > before
	})
	for _, m := range monitors {
		m.drain()
	}
}
