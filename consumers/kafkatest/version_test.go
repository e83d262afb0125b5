package kafkatest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers/kafkatest"
)

func TestVersion(t *testing.T) {
	if nodes == 0 {
		t.Skip(kafkatest.Variable + " asks for no Apache Kafka")
	}
	version, err := kafkatest.Version()
	require.NoError(t, err)
	require.Regexp(t, `^4\.\d+\.\d+$`, version)
}
