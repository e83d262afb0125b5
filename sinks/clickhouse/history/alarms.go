package history

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/schemas"
)

// AlarmCalibrations reads what the alarms of a version were calibrated to, for the length of its
// windows, the first one first.
func (s *Store) AlarmCalibrations(ctx context.Context, m *schemas.Manifest) ([]schemas.AlarmCalibration, error) {
	var rows []schemas.AlarmCalibration
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT %s FROM %s.alarm_calibrations WHERE %s AND window_seconds = %d ORDER BY made_at, calibration",
		columns[schemas.AlarmCalibration](), s.database, of(m), int64(m.Monitoring.Window.Std()/time.Second))); err != nil {
		return nil, fmt.Errorf("read the calibration of alarms: %w", err)
	}
	return rows, nil
}

// WriteAlarmCalibration writes a calibration, as one insert.
func (s *Store) WriteAlarmCalibration(ctx context.Context, c schemas.AlarmCalibration) error {
	if err := s.conn.InsertRows(ctx, "alarm_calibrations", []schemas.AlarmCalibration{c}); err != nil {
		return fmt.Errorf("write the calibration of alarms: %w", err)
	}
	return nil
}

// AlarmWindows reads what alarms of a version decided, for the length of its windows, from a start
// on.
func (s *Store) AlarmWindows(ctx context.Context, m *schemas.Manifest, from time.Time) ([]schemas.AlarmWindow, error) {
	where := of(m)
	if !from.IsZero() {
		where += " AND window_start >= " + instant(from)
	}
	var rows []schemas.AlarmWindow
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT %s FROM %s.alarms FINAL WHERE %s AND window_end = window_start + INTERVAL %d SECOND ORDER BY window_start, revision",
		columns[schemas.AlarmWindow](), s.database, where, int64(m.Monitoring.Window.Std()/time.Second))); err != nil {
		return nil, fmt.Errorf("read the alarms: %w", err)
	}
	return rows, nil
}

// WriteAlarms writes what was decided of windows, as one insert.
func (s *Store) WriteAlarms(ctx context.Context, windows []schemas.AlarmWindow) error {
	if len(windows) == 0 {
		return nil
	}
	if err := s.conn.InsertRows(ctx, "alarms", windows); err != nil {
		return fmt.Errorf("write %d windows of alarms: %w", len(windows), err)
	}
	return nil
}
