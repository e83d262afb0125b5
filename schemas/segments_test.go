package schemas_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func TestSegments(t *testing.T) {
	text := func(list string) []byte {
		features := "features:\n  - {name: f, type: float32}\n  - {name: i, type: int64}\n  - {name: b, type: bool}\n  - {name: s, type: string}\n  - {name: c, type: category, categories: [x, y]}\n"
		return []byte("name: m\nversion: v1\nruntime: onnx\nartifact: {file: model.onnx, sha256: " + strings.Repeat("a", 64) + "}\n" + features +
			"outputs:\n  - {name: o, type: float32}\nmonitoring: {window: 1h, checks: [], segments: " + list + "}\n")
	}
	m, err := schemas.ParseManifest("m.yaml", text("[c, s, b]"))
	require.NoError(t, err)
	require.Equal(t, []string{"c", "s", "b"}, m.Monitoring.Segments)
	for list, want := range map[string]string{
		"[f]":       `monitoring.segments[0]: "f" is float32; rows are divided by a feature of type string, category or bool`,
		"[c, i]":    `monitoring.segments[1]: "i" is int64`,
		"[o]":       `monitoring.segments[0]: "o" is no feature`,
		"[b, c, b]": `monitoring.segments[2]: "b" stands twice`,
		"[" + strings.Repeat("c, ", schemas.MaxSegments) + "c]": "monitoring.segments: at most 8, got 9",
	} {
		_, err := schemas.ParseManifest("m.yaml", text(list))
		require.ErrorContains(t, err, want)
	}
}
