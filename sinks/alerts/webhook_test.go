package alerts

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWebhook(t *testing.T) {
	status := http.StatusNoContent
	var body, contentType, extra string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		body, contentType, extra = string(b), r.Header.Get("Content-Type"), r.Header.Get("Authorization")
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	w := NewWebhook(srv.URL, map[string]string{"Authorization": "Bearer x"}, time.Second)
	require.NoError(t, w.Deliver(t.Context(), []byte(`{"id":"1"}`)))
	require.JSONEq(t, `{"id":"1"}`, body)
	require.Equal(t, "application/cloudevents+json; charset=UTF-8", contentType)
	require.Equal(t, "Bearer x", extra)
	for want, statuses := range map[bool][]int{
		true: {http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity},
		false: {
			http.StatusFound, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusGone,
			http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable,
		},
	} {
		for _, status = range statuses {
			err := w.Deliver(t.Context(), nil)
			require.ErrorContains(t, err, srv.URL)
			var refused *RefusedError
			require.Equal(t, want, errors.As(err, &refused), status)
		}
	}
	srv.Close()
	require.Error(t, w.Deliver(t.Context(), nil))
}

// An address is where secrets of a webhook stand. None of them is in an error, also where the
// receiver repeats what it was asked.
func TestWebhookErrorsHoldNoSecret(t *testing.T) {
	var answer atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := int(answer.Load())
		if status == 0 { // it hangs up
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				c.Close()
			}
			return
		}
		user, password, _ := r.BasicAuth()
		http.Error(w, fmt.Sprint(r.URL, " ", user, ":", password, " ", r.Header.Get("X-Key")), status)
	}))
	defer srv.Close()
	open := func(url string) *Webhook {
		return NewWebhook(url, map[string]string{"X-Key": "Token canary-header"}, time.Second)
	}
	host := strings.TrimPrefix(srv.URL, "http://")
	w := open("http://canary-user:canary-password@" + host + "/services/canary-path?key=canary-query")
	for _, status := range []int{0, 302, 400, 403, 404, 413, 415, 422, 429, 500} {
		answer.Store(int64(status))
		err := w.Deliver(t.Context(), nil)
		require.ErrorContains(t, err, host)
		require.NotContains(t, err.Error(), "canary", "%d", status)
		if refused, ok := errors.AsType[*RefusedError](err); ok {
			require.NotContains(t, refused.Error(), "canary")
		}
	}
	srv.Close()
	require.NotContains(t, w.Deliver(t.Context(), nil).Error(), "canary")
	for _, url := range []string{"http://canary-user:canary-password@[::1/canary-path", "http://" + host + "/canary-path\x00", "canary-scheme:canary-path"} {
		err := open(url).Deliver(t.Context(), nil)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "canary-p")
	}
}

// Of an answer a part is told: a secret must not stand at its end cut, nor in it quoted.
func TestWebhookErrorsHoldNoPartOfASecret(t *testing.T) {
	for _, secret := range []string{"Bearer canary-0123456789", `ca"na\ry<&>0123456789`} {
		for _, status := range []int{http.StatusBadRequest, http.StatusInternalServerError} {
			var before atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(status)
				fmt.Fprint(w, strings.Repeat("-", int(before.Load())), r.Header.Get("X-Key"), strings.Repeat(r.Header.Get("X-Key"), 300))
			}))
			for n := range int64(40) {
				before.Store(160 + n)
				err := NewWebhook(srv.URL, map[string]string{"X-Key": secret}, time.Second).Deliver(t.Context(), nil)
				require.NotContains(t, err.Error(), "cana")
				require.NotContains(t, err.Error(), `ca\"na`)
				require.NotContains(t, err.Error(), "Bear")
			}
			srv.Close()
		}
	}
}
