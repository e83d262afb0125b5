package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/millrace/millrace/pipeline/config"
)

// readiness collects whether each part is ready. It is safe for concurrent use.
type readiness struct {
	mu    sync.Mutex
	parts map[string]string // part: why it is not ready, "" if it is
	notes map[string]string // part: what an operator is to know of it though it is ready
}

func newReadiness() *readiness {
	return &readiness{parts: map[string]string{}, notes: map[string]string{}}
}

// set tells that a part is ready, or why not.
func (r *readiness) set(part, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts[part] = reason
}

// note tells what an operator is to know of a part though it is ready; "" takes that back.
func (r *readiness) note(part, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes[part] = text
}

func (r *readiness) snapshot() (ready bool, parts map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ready, parts = len(r.parts) > 0, map[string]string{} // before Run has begun, nothing is
	for part, note := range r.notes {
		if note != "" {
			parts[part] = "ready; " + note
		}
	}
	for part, reason := range r.parts {
		if r.notes[part] == "" {
			parts[part] = "ready"
		}
		if reason != "" {
			ready, parts[part] = false, reason
		}
	}
	return ready, parts
}

// serveAdmin serves /metrics, /healthz, /readyz and, where it is wanted and on loopback only,
// /debug/pprof until ctx ends.
func serveAdmin(ctx context.Context, cfg config.HTTP, m *Metrics, r *readiness) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("http.addr %s: %w", cfg.Addr, err)
	}
	host, _, err := net.SplitHostPort(ln.Addr().String())
	loopback := err == nil && net.ParseIP(host).IsLoopback()
	if cfg.Pprof && !loopback {
		return errors.Join(fmt.Errorf("http.pprof: http.addr %s is not on loopback; listen on 127.0.0.1, or leave profiles off", cfg.Addr), ln.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{}))
	if cfg.Pprof {
		handleProfiles(mux)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, parts := r.snapshot()
		w.Header().Set("Content-Type", "application/json")
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if err := json.NewEncoder(w).Encode(parts); err != nil {
			return // the client is gone
		}
	})
	srv := adminServer(guarded(mux, cfg.Addr, loopback))
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(end) != nil {
			srv.Close() //nolint:gosec // it is being given up
		}
	})
	defer stop()
	if err := srv.Serve(netutil.LimitListener(ln, adminConnections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("http.addr %s: %w", cfg.Addr, err)
	}
	return nil
}
