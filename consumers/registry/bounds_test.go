package registry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers/registry"
	"github.com/millrace/millrace/schemas/codec"
)

func withPassword(c *registry.Config) { c.Username, c.Password, c.Attempts = "millrace", "canary", 2 }

// answering starts a registry that has one answer.
func answering(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

func TestRedirectsCarryNoPasswordToAnotherOrigin(t *testing.T) {
	var asked atomic.Int64
	elsewhere := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, `{"schema":"\"string\""}`)
	})
	for _, to := range []string{elsewhere, strings.Replace(elsewhere, "http:", "https:", 1), strings.Replace(elsewhere, "127.0.0.1", "localhost", 1)} {
		url := answering(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
		})
		_, err := client(t, url, withPassword).Schema(t.Context(), 1)
		require.ErrorContains(t, err, "redirects to "+to)
		require.ErrorContains(t, err, "set registry.url to it")
		require.NotErrorIs(t, err, codec.ErrUnknownSchema)
		require.NotContains(t, err.Error(), "canary")
	}
	require.Zero(t, asked.Load())
}

func TestRedirectsAtTheSameOriginAreFollowed(t *testing.T) {
	url := answering(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case user != "millrace" || password != "canary":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasPrefix(r.URL.Path, "/at"):
			fmt.Fprint(w, `{"schema":"\"string\""}`)
		case strings.HasSuffix(r.URL.Path, "/1"):
			http.Redirect(w, r, "/at"+r.URL.Path, http.StatusTemporaryRedirect)
		default: // in a circle
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}
	})
	c := client(t, url, withPassword)
	s, err := c.Schema(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, `"string"`, s.Text)
	_, err = c.Schema(t.Context(), 2)
	require.ErrorContains(t, err, "redirects more than 3 times")
}

// Whoever may register a schema could else stop every worker that is sent its id.
func TestEndlessAnswersAreCutOff(t *testing.T) {
	var sent atomic.Int64
	url := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/2") {
			w.WriteHeader(http.StatusInternalServerError)
		} else {
			fmt.Fprint(w, `{"schema":"`)
		}
		piece := []byte(strings.Repeat("x", 1<<16))
		for range 1 << 16 { // 4 GiB
			n, err := w.Write(piece)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	c := client(t, url, withPassword)
	_, err := c.Schema(t.Context(), 1)
	require.ErrorIs(t, err, codec.ErrUnknownSchema) // a schema: it stays what it is
	require.ErrorContains(t, err, "the answer has more than 4 MiB")
	_, err = c.Schema(t.Context(), 2)
	require.NotErrorIs(t, err, codec.ErrUnknownSchema) // a fault of the registry: it may pass
	require.Error(t, err)
	require.Less(t, len(err.Error()), 1<<17)
	require.Less(t, sent.Load(), int64(256<<20), "what was read is bounded by the socket's buffers")
}

func TestReferencesAreBoundedByTheirBytes(t *testing.T) {
	big := strings.Repeat(" ", 1<<20)
	url := answering(t, func(w http.ResponseWriter, r *http.Request) {
		next := strings.Count(r.URL.Path, "s") // subjects grow by a letter
		fmt.Fprintf(w, `{"schema":"\"string\"%s","version":1,"id":%d,"references":[{"name":"n","subject":"%s","version":1}]}`, big, next, strings.Repeat("s", next+1))
	})
	_, err := client(t, url).Schema(t.Context(), 1)
	require.ErrorIs(t, err, codec.ErrUnknownSchema)
	require.ErrorContains(t, err, "it has more than 4 MiB, with what it refers to")
}
