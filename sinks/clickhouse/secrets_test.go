package clickhouse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// No error of ClickHouse holds the password, whatever is wrong.
func TestErrorsHoldNoPassword(t *testing.T) {
	status := http.StatusInternalServerError
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, "no answer to ", r.URL)
	}))
	defer srv.Close()
	ask := func() {
		t.Helper()
		c, err := clickhouse.Open(clickhouse.Options{
			Addr: []string{strings.TrimPrefix(srv.URL, "http://")}, Username: "default", PasswordFrom: func() (string, error) { return "canary p@ss/w%rd?", nil },
			Storage: schemas.Storage{Database: "millrace", TTLDays: 1}, Logger: zerolog.Nop(),
		})
		require.NoError(t, err)
		defer c.Close()
		var rows []struct{}
		_, errQuery := c.QueryArrow(t.Context(), "SELECT 1")
		for _, err := range []error{c.Ping(t.Context()), c.Exec(t.Context(), "SELECT 1"), c.Select(t.Context(), &rows, "SELECT 1"), errQuery, c.Migrate(t.Context())} {
			require.Error(t, err)
			require.NotContains(t, err.Error(), "canary", "%d", status)
		}
	}
	for _, status = range []int{302, 401, 404, 500} {
		ask()
	}
	srv.Close()
	ask()
}
