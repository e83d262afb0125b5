package kafkatest

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// TestClusterIDIsNoOption: an id that begins with a dash is an option to Kafka's tools.
func TestClusterIDIsNoOption(t *testing.T) {
	dashed := uuid.UUID{0xf8} // the first six bits are those of '-'
	random := []uuid.UUID{dashed, dashed, {1}}
	id := newClusterID(func() uuid.UUID {
		next := random[0]
		random = random[1:]
		return next
	})
	require.Equal(t, "AQAAAAAAAAAAAAAAAAAAAA", id)
	require.Empty(t, random)
}
