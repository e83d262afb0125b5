package report

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/millrace/millrace/schemas"
)

// Schedule says when reports are written: of all windows that were finished before it last fired.
// So a firing at which no monitor ran is caught up by whoever comes next.
type Schedule struct {
	spec *cron.SpecSchedule
}

var cronFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// NewSchedule reads a cron expression of five fields, or @hourly, @daily, @weekly, @monthly, @yearly,
// in a time zone: a name as Europe/Berlin, or an offset as +02:00; empty is UTC.
func NewSchedule(expression, zone string) (*Schedule, error) {
	const like = "five fields as in 0 6 * * * (minute, hour, day of the month, month, day of the week), or @hourly, @daily, @weekly, @monthly"
	if zone == "" {
		zone = "UTC"
	}
	location, err := schemas.EventTime{Zone: zone}.Location()
	if err != nil {
		return nil, err
	}
	if strings.Contains(expression, "TZ=") { // the parser would take it, in spite of zone
		return nil, errors.New("the time zone is a setting of its own")
	}
	parsed, err := cronFields.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("%q is no schedule: %w; write %s", expression, err, like)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok { // @every counts from whenever it began
		return nil, fmt.Errorf("%q fires at no times of the clock; write %s", expression, like)
	}
	spec.Location = location
	if spec.Next(time.Unix(0, 0)).IsZero() {
		return nil, fmt.Errorf("%q never fires: there is no such day", expression)
	}
	return &Schedule{spec}, nil
}

// Last is when the schedule fired last by a time, itself included.
func (s *Schedule) Last(by time.Time) time.Time {
	by = by.Truncate(time.Second)
	for back := time.Minute; ; back *= 2 {
		at := s.spec.Next(by.Add(-back))
		if at.IsZero() || at.After(by) {
			if back > 20*366*24*time.Hour {
				return time.Time{}
			}
			continue
		}
		for next := at; !next.IsZero() && !next.After(by); next = s.spec.Next(next) {
			at = next
		}
		return at.UTC()
	}
}
