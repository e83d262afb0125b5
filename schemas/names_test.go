package schemas_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// TestColumnNamesMakeAManifest: whatever columns are called, their names and sources are those of a
// manifest that is accepted: no two fields of a request have one name, in JSON or in Avro.
func TestColumnNamesMakeAManifest(t *testing.T) {
	for _, want := range [][]string{
		{"a b", "a_b", "a.b", "A_B", "A_b", "a_b_2"},
		{"x y", "x_y_2", "x_y", "X_Y"},
		{"version", "Version", "outcome", "1", "f1", "年齢", "", "y", "score"},
		{strings.Repeat("long", 28) + "_2", strings.Repeat("long", 28), strings.Repeat("long", 25) + "!"},
	} {
		given := schemas.NewColumnNames()
		given.Take("score")
		given.Take("at")
		names := given.GiveAll(append(want, "at!"))
		text := strings.ReplaceAll(minimal, "{name: y,", "{name: score,") + "event_time: {field: at}\n"
		var features strings.Builder
		for i, w := range append(want, "at!") {
			fmt.Fprintf(&features, "  - {name: %s, type: float32", schemas.YAMLText(names[i]))
			if w != names[i] && w != "" {
				features.WriteString(", source: " + schemas.YAMLText(w))
			}
			features.WriteString("}\n")
		}
		text = strings.Replace(text, "  - {name: x, type: float32}\n", features.String(), 1)
		m, err := schemas.ParseManifest("test", []byte(text))
		require.NoError(t, err, text)
		seen := map[string]bool{"at": true}
		for _, f := range m.Features {
			require.False(t, seen[f.FieldName()], "%s of %v", f.FieldName(), names)
			seen[f.FieldName()] = true
		}
		require.Equal(t, len(want)+2, len(seen), fmt.Sprint(names))
	}
	require.Equal(t, []string{"a_b_2", "a_b"}, schemas.NewColumnNames().GiveAll([]string{"a b", "a_b"}), "an identifier keeps its name")
}
