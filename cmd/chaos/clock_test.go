package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSkewMovesTheClock: the reading of the clock and the check of an insert see the same
// one, whether the query comes as a parameter or as the body.
func TestSkewMovesTheClock(t *testing.T) {
	came := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		came <- r.URL.Query().Get("query") + "|" + string(body)
	}))
	defer server.Close()
	s, err := newSkew(strings.TrimPrefix(server.URL, "http://"))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	send := func(ctx context.Context, query, body string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr()+"/?query="+url.QueryEscape(query), strings.NewReader(body))
		require.NoError(t, err)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	const insert = "INSERT INTO t SELECT * FROM input('a Int') WHERE throwIf(now64(6) > fromUnixTimestamp64Micro(7)) = 0 FORMAT ArrowStream"
	require.NoError(t, send(t.Context(), "", "SELECT now64(6, 'UTC') AS at"))
	require.Equal(t, "|SELECT now64(6, 'UTC') AS at", <-came, "the clock is right at first")
	s.Set(time.Hour)
	require.NoError(t, send(t.Context(), "", "SELECT now64(6, 'UTC') AS at"))
	require.Equal(t, "|SELECT (now64(6, 'UTC') + INTERVAL 3600 SECOND) AS at", <-came)
	require.NoError(t, send(t.Context(), insert, "rows with now64(6) in them"))
	require.Equal(t, strings.Replace(insert, "now64(6)", "(now64(6) + INTERVAL 3600 SECOND)", 1)+"|rows with now64(6) in them", <-came)

	// An insert that is kept back comes whole when its client is gone, as it was sent.
	held := s.Hold()
	ctx, gone := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { left <- send(ctx, insert, "rows") }() // ends with ctx
	<-held
	gone()
	require.ErrorIs(t, <-left, context.Canceled)
	s.Set(0)
	require.NoError(t, send(t.Context(), "", "SELECT 1"), "nothing else is kept back")
	require.Equal(t, "|SELECT 1", <-came)
	s.Pass()
	require.NoError(t, send(t.Context(), insert, "new"), "nor what comes later")
	require.Equal(t, insert+"|new", <-came)
	s.Release()
	require.Equal(t, strings.Replace(insert, "now64(6)", "(now64(6) + INTERVAL 3600 SECOND)", 1)+"|rows", <-came)
	require.NoError(t, send(t.Context(), insert, "more"), "and none any more")
	require.Equal(t, insert+"|more", <-came)
}
