package pipeline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// receiver is a webhook that answers as it is told.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []int // revisions of the events that it has taken
}

func newReceiver(tb testing.TB) *receiver {
	tb.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var e schemas.Event
		err := json.NewDecoder(req.Body).Decode(&e)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil || r.status != http.StatusOK {
			http.Error(w, fmt.Sprintf("not %s \x1b[2J", req.URL), r.status)
			return
		}
		r.got = append(r.got, int(e.Data.Revision))
	}))
	tb.Cleanup(r.Close)
	return r
}

func (r *receiver) answers(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// taken waits until so many events were taken and returns which.
func (r *receiver) taken(h *harness, n int) []int {
	h.Helper()
	var got []int
	h.eventually(fmt.Sprintf("%d events are taken", n), func() (string, bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = append([]int(nil), r.got...)
		return fmt.Sprint(got), len(got) >= n
	})
	return got
}

// event puts an event on its topic.
func (h *harness) event(revision int, more string) {
	h.Helper()
	e := schemas.NewEvent(schemas.EventData{
		Kind: schemas.EventRetraining, Model: "fares", Version: "1", Severity: "critical", Revision: uint32(revision),
		WindowStart: catalogtest.Epoch.Add(time.Duration(revision) * time.Hour), TrainingSQL: more,
	}, time.Now())
	body, err := json.Marshal(e)
	require.NoError(h, err)
	h.produce(&kgo.Record{Topic: h.cfg.Topics.Events, Value: body})
}

// awaitReady waits until /readyz answers that status with that text, and returns it.
func (h *harness) awaitReady(admin string, status int, text string) (body string) {
	h.Helper()
	h.eventually("/readyz says "+text, func() (string, bool) {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return "", false // it has not begun
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		require.NoError(h, err)
		body = string(got)
		return body, resp.StatusCode == status && strings.Contains(body, text)
	})
	return body
}

// An http:// address of a TLS port answers 400. Nothing is taken for refused by that: the
// events wait, and readiness and log say what may be wrong.
func TestWebhookThatHasNeverAcceptedAnythingLosesNoEvent(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares})
	admin := freeAddr(t)
	for i := range 3 {
		h.event(i, "")
	}
	r := h.run(pipeline.New(h.config("roles=monitor", "http.addr="+admin,
		`alerts=[{name: hook, webhook: {url: "http://`+strings.TrimPrefix(srv.URL, "https://")+`/canary"}}]`), h.log))
	body := h.awaitReady(admin, http.StatusServiceUnavailable, "does it expect https://?")
	require.NotContains(t, body, "canary")
	h.eventually("the log says it", func() (string, bool) { return "", strings.Contains(h.logs.all(), "does it expect https://?") })
	r.drain()
	require.NotContains(t, h.logs.all(), "canary")
	require.EqualValues(t, 3, h.lag("millrace-alerts-hook", h.cfg.Topics.Events), "the events are still to be delivered")
	require.Empty(t, h.read(h.cfg.Topics.Control))

	// The address is mended: all come, in order.
	mended := newReceiver(t)
	mended.answers(http.StatusOK)
	h.start("monitor", `alerts=[{name: hook, webhook: {url: "`+mended.URL+`"}}]`)
	require.Equal(t, []int{0, 1, 2}, mended.taken(h, 3))
}

// What a receiver refuses is parked where it outlives everything, counted, shown, and sent
// again when it is asked for; the others go on in order.
func TestRefusedEventsAreParkedAndSentAgain(t *testing.T) {
	hook := newReceiver(t)
	address := hook.URL + "/services/canary-path?token=canary-token"
	set := []string{`alerts=[{name: hook, webhook: {url: "` + address + `", headers: {Authorization: "Bearer canary-bearer"}}}]`}
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, set...)
	admin := freeAddr(t)
	parked := func(want int) string {
		t.Helper()
		var list bytes.Buffer
		h.eventually(fmt.Sprintf("%d events are parked", want), func() (string, bool) {
			list.Reset()
			require.NoError(t, operate.ListParked(t.Context(), h.cfg, operate.ParkedFilter{}, &list))
			_, metrics := h.get("http://" + admin + "/metrics")
			gauge := `millrace_alerts_parked{subscription="hook"} ` + strconv.Itoa(want)
			return list.String(), strings.Count(list.String(), "\n") == want && (want == 0 || strings.Contains(metrics, gauge))
		})
		return list.String()
	}
	r := h.start("monitor", "http.addr="+admin)

	// Before it has accepted one, 400 can be about anything; afterwards it is about the event.
	hook.answers(http.StatusBadRequest)
	h.event(0, "")
	require.NotContains(t, h.awaitReady(admin, http.StatusServiceUnavailable, "never accepted an event"), "canary")
	hook.answers(http.StatusOK)
	require.Equal(t, []int{0}, hook.taken(h, 1))
	h.awaitReady(admin, http.StatusOK, `"alerts hook":"ready"`)
	hook.answers(http.StatusBadRequest)
	h.event(1, "")
	parked(1)
	h.awaitReady(admin, http.StatusOK, "1 events that the receiver refused are parked")
	hook.answers(http.StatusOK)
	h.event(2, "")
	require.Equal(t, []int{0, 2}, hook.taken(h, 2))

	// That it has accepted one is known after a restart, and so is what is parked.
	r.drain()
	r = h.start("monitor", "http.addr="+admin)
	parked(1)
	hook.answers(http.StatusBadRequest)
	h.event(3, "")
	parked(2)
	hook.answers(http.StatusRequestEntityTooLarge)
	h.event(4, strings.Repeat("x", 1_000_000)) // too large to be kept beside its key
	list := parked(3)
	require.Contains(t, list, "413 Request Entity Too Large")
	require.Contains(t, list, "\\x1b[2J")
	require.NotContains(t, list, "\x1b")
	require.NotContains(t, list, "canary")

	// Sent again: what is refused again stays, and what is taken is parked no more.
	send := func(filter operate.ParkedFilter) (int, error) {
		t.Helper()
		return operate.SendParked(t.Context(), h.cfg, filter)
	}
	n, err := send(operate.ParkedFilter{})
	require.ErrorContains(t, err, "refused: 413")
	require.NotContains(t, err.Error(), "canary")
	require.Zero(t, n)
	hook.answers(http.StatusServiceUnavailable)
	n, err = send(operate.ParkedFilter{Subscription: "hook"})
	require.ErrorContains(t, err, "503")
	require.Zero(t, n)
	parked(3)
	hook.answers(http.StatusOK)
	second, _, _ := strings.Cut(strings.Split(list, "\n")[1], "\t")
	n, err = send(operate.ParkedFilter{Only: []string{second}})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []int{0, 2, 3}, hook.taken(h, 3))
	parked(2)
	_, err = send(operate.ParkedFilter{Only: []string{second}})
	require.ErrorContains(t, err, "no event \""+second+"\" is parked")
	n, err = send(operate.ParkedFilter{})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, []int{0, 2, 3, 1, 4}, hook.taken(h, 5))
	parked(0)
	h.eventually("readiness names nothing parked", func() (string, bool) {
		status, body := h.get("http://" + admin + "/readyz")
		return body, status == http.StatusOK && !strings.Contains(body, "parked")
	})

	// Given up.
	hook.answers(http.StatusUnprocessableEntity)
	h.event(5, "")
	parked(1)
	dropped, err := operate.DropParked(t.Context(), h.cfg, operate.ParkedFilter{Subscription: "hook"})
	require.NoError(t, err)
	require.Equal(t, 1, dropped)
	parked(0)

	for _, page := range []string{"/metrics", "/readyz"} {
		_, body := h.get("http://" + admin + page)
		require.NotContains(t, body, "canary")
	}
	r.drain()
	require.Contains(t, h.logs.all(), "event refused and parked")
	require.NotContains(t, h.logs.all(), "canary")
}
