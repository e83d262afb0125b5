package alerts

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
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
