package alerts

import (
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
	for _, status = range []int{http.StatusFound, http.StatusBadRequest, http.StatusInternalServerError} {
		require.ErrorContains(t, w.Deliver(t.Context(), nil), srv.URL)
	}
	srv.Close()
	require.Error(t, w.Deliver(t.Context(), nil))
}
