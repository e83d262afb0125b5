package web

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Bounds of the admin port. It serves a handful of scrapers and operators.
const (
	adminConnections = 64
	adminBody        = 64 << 10 // bytes of a request's body, which no page reads
	adminHeader      = 32 << 10 // bytes of a request's headers
	longestProfile   = 60       // seconds
	adminRead        = 10 * time.Second
	adminWrite       = 30 * time.Second // for an answer, profiles aside
)

// adminServer bounds what one client can take from the others.
func adminServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, MaxHeaderBytes: adminHeader,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: adminRead, WriteTimeout: adminWrite, IdleTimeout: time.Minute,
	}
}

// guarded bounds bodies. On loopback it accepts only requests whose Host names this machine, or
// is the configured one: a web page whose name was made to resolve to 127.0.0.1 could otherwise
// have a browser on this machine read the port for it.
func guarded(next http.Handler, addr string, loopback bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if loopback && !localHost(r.Host, addr) {
			http.Error(w, fmt.Sprintf("the host %q is neither this machine nor that of http.addr", r.Host), http.StatusMisdirectedRequest)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, adminBody)
		next.ServeHTTP(w, r)
	})
}

// localHost tells whether a Host header names this machine, or the host of http.addr.
func localHost(header, addr string) bool {
	host := hostOf(header)
	if configured, _, err := net.SplitHostPort(addr); err == nil && host != "" && strings.EqualFold(host, configured) {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost") // which RFC 6761 keeps for loopback
}

// hostOf returns a Host header without its port and brackets.
func hostOf(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
}

// handleProfiles serves /debug/pprof. A profile takes at most longestProfile seconds, by which
// the package moves the server's deadline.
func handleProfiles(mux *http.ServeMux) {
	timed := func(profile http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if seconds, err := strconv.ParseInt(r.FormValue("seconds"), 10, 64); err == nil && seconds > longestProfile {
				http.Error(w, fmt.Sprintf("seconds: must be at most %d, got %d", longestProfile, seconds), http.StatusBadRequest)
				return
			}
			profile(w, r)
		}
	}
	mux.HandleFunc("GET /debug/pprof/", timed(pprof.Index)) // of every kind by its name
	mux.HandleFunc("GET /debug/pprof/profile", timed(pprof.Profile))
}
