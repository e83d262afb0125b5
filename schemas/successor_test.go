package schemas_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func versionOf(t *testing.T, rest string) *schemas.Manifest {
	t.Helper()
	m, err := schemas.ParseManifest("test", []byte(`name: m
version: "1"
runtime: onnx
artifact: {file: m.onnx, sha256: 0000000000000000000000000000000000000000000000000000000000000000}
`+rest))
	require.NoError(t, err)
	return m
}

// An unedited manifest of a further version drops what the last one knew.
func TestVersionsAreCompared(t *testing.T) {
	one := versionOf(t, `features:
  - {name: a, type: float64, optional: true}
  - {name: b, type: category, categories: [x]}
  - {name: c, type: int64}
event_time: {field: at, zone: UTC}
outputs: [{name: y, type: float32}, {name: z, type: bool}]
target: {kind: binary, score: y}
`)
	two := versionOf(t, `features:
  - {name: a, type: float64}
  - {name: b, type: string}
  - {name: d, type: float32}
outputs: [{name: y, type: float64}]
`)
	first, err := one.StoredTypes()
	require.NoError(t, err)
	second, err := two.StoredTypes()
	require.NoError(t, err)
	require.Equal(t, []string{`column "b" is String, and LowCardinality(String) in version 1`, `column "y" is Float64, and Float32 in version 1`},
		schemas.Unstorable(second, first, "version 1"))
	require.Empty(t, schemas.Unstorable(first, first, "version 1"))
	require.Empty(t, schemas.Unstorable(first, map[string]string{"a": "Nullable(Float64)", "b": "LowCardinality(Nullable(String))", "event_time": "DateTime64(6, 'UTC')"}, "the table"))
	require.Equal(t, []string{
		`feature "a" could be absent, and is required: requests without it become dead letters`,
		`feature "d" is new and required: requests without it become dead letters`,
		`feature "c" is gone: its column is NULL from now on`,
		`output "z" is gone`,
		`event time is Kafka's timestamp, and was at (rfc3339 UTC): windows of both are of different times`,
		`target is gone: no accuracy is judged`,
	}, two.Departures(one))
	require.Empty(t, one.Departures(one))
}

func TestIsDraft(t *testing.T) {
	for text, want := range map[string]bool{
		"draft: true": true, "a: 1\ndraft: true # yes\n": true, "{draft: true}": true, "draft: true\nx: [": true, "\"draft\": true\r\nx: [": true,
		"": false, "draft: false": false, "# draft: true": false, "a: {draft: true}": false, "a:\n  draft: true\nx: [": false, "draft:\nx: [": false, "draft: false # true\nx: [": false, "draft: null": false,
		"draft: yes": true, "draft: on\nx: [": true, "draft: 'true'": true, "draft: TRUE": true, "draft: !!bool true": true, "draft: 'no\nx: [": true,
	} {
		require.Equal(t, want, schemas.IsDraft([]byte(text)), text)
	}
}
