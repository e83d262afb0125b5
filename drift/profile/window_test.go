package profile_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
)

func TestWindowStart(t *testing.T) {
	for at, want := range map[string]string{
		"2001-01-01T00:00:00Z": "2001-01-01T00:00:00Z", "2001-01-01T23:59:59.999999Z": "2001-01-01T00:00:00Z",
		"1969-12-31T23:59:59Z": "1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z": "1970-01-01T00:00:00Z",
		"1969-12-31T00:00:00Z": "1969-12-31T00:00:00Z",
	} {
		in, err := time.Parse(time.RFC3339Nano, at)
		require.NoError(t, err)
		require.Equal(t, want, profile.WindowStart(in, 24*time.Hour).Format(time.RFC3339Nano))
	}
}
