package operate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/schemas"
)

func TestWindowsThatAreJudgedAgain(t *testing.T) {
	m := &schemas.Manifest{Name: "flights", Version: "1", Monitoring: &schemas.Monitoring{
		Window: schemas.Duration(24 * time.Hour), Windows: []schemas.Windows{{Length: schemas.Duration(time.Hour)}, {Length: schemas.Duration(24 * time.Hour), Every: schemas.Duration(time.Hour)}},
	}}
	for window, want := range map[string][]string{"": {"", "1h", "1d-every-1h"}, "1d": {""}, "24h": {""}, "60m": {"1h"}, "1d-every-1h": {"1d-every-1h"}} {
		got, err := JudgeOptions{Model: "flights", Window: window}.spread([]drift.Version{{Manifest: m}})
		require.NoError(t, err)
		var kinds []string
		for _, v := range got {
			kinds = append(kinds, v.Manifest.WindowKind())
		}
		require.Equal(t, want, kinds, window)
	}
	_, err := JudgeOptions{Model: "flights", Window: "2h"}.spread([]drift.Version{{Manifest: m}})
	require.EqualError(t, err, `no version of flights has windows "2h": there are 1d, 1h, 1d-every-1h`)
}
