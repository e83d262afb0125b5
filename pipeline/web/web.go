package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/millrace/millrace/pipeline/config"
)

// Serve serves /metrics, /healthz, /readyz and, where it is wanted and on loopback only,
// /debug/pprof until ctx ends. ready tells whether all parts are ready, and what there is to say of each.
func Serve(ctx context.Context, cfg config.HTTP, metrics prometheus.Gatherer, ready func() (ready bool, parts map[string]string)) error {
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
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	if cfg.Pprof {
		handleProfiles(mux)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		isReady, parts := ready()
		w.Header().Set("Content-Type", "application/json")
		if !isReady {
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
