package operate

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift/alarm"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// AlarmCard reads the card of a version's alarm that was calibrated last: how often it is wrong, and
// how late, as simulated on the windows that it was calibrated on.
func AlarmCard(ctx context.Context, cfg config.Config, model, version string, log zerolog.Logger) (*alarm.Titled, error) {
	versions, err := monitoredVersions(ctx, cfg.Models, model, version)
	if err != nil {
		return nil, err
	}
	m := versions[0].Manifest
	if m.Monitoring.FalseAlarms == nil {
		return nil, fmt.Errorf("%s/%s has no alarm: monitoring.false_alarms of its manifest says how rare false ones are to be", model, version)
	}
	client, err := clickhouse.Open(cfg.ClickHouseOptions(log))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	rows, err := history.New(client, cfg.ClickHouse.Database).AlarmCalibrations(ctx, m)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("the alarm of %s/%s is not calibrated yet: the monitor does it once %d windows of %s with at least %d rows have closed (monitoring.false_alarms.calibration)",
			model, version, m.Monitoring.FalseAlarms.Calibration, m.Monitoring.Window.Std(), m.Monitoring.MinRows)
	}
	r := rows[len(rows)-1]
	out := &alarm.Titled{Model: r.Model, Version: r.Version, From: r.From.UTC(), To: r.To.UTC(), Card: &alarm.Card{}}
	var c alarm.Calibration
	if err := json.Unmarshal([]byte(r.Card), out.Card); err != nil {
		return nil, fmt.Errorf("read the card of %s/%s: %w", model, version, err)
	}
	if err := json.Unmarshal([]byte(r.Calibration), &c); err != nil {
		return nil, fmt.Errorf("read the calibration of %s/%s: %w", model, version, err)
	}
	out.Asked = c.Options.Every.String()
	return out, nil
}
