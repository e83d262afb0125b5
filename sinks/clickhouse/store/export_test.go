package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// Verify looks for the rows of the records as after their insert.
func (s *Store) Verify(tb testing.TB, records []schemas.Record) error {
	tb.Helper()
	c := &call{Store: s}
	for i := range records {
		o, p, err := s.split(&records[i])
		require.NoError(tb, err)
		err = c.verify(tb.Context(), schemas.ObservationsTable(o.Model), observationPlaces, o.Version, &p.extent, func() ([]schemas.Coordinates, error) {
			var places []schemas.Coordinates
			err := o.Rows(p.messages, func(at schemas.Coordinates, _ int64) { places = append(places, at) })
			return places, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
