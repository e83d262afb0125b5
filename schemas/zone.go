package schemas

import (
	"fmt"
	"regexp"
	"time"
	_ "time/tzdata" // images without a data base of zones know them as well
)

var zoneOffset = regexp.MustCompile(`^[+-]([01][0-9]|2[0-3]):?[0-5][0-9]$`)

// Location returns the zone of times that say none; nil if the manifest names none.
func (e EventTime) Location() (*time.Location, error) {
	if e.Zone == "" {
		return nil, nil
	}
	if zoneOffset.MatchString(e.Zone) {
		layout := "-07:00"
		if len(e.Zone) == 5 {
			layout = "-0700"
		}
		at, err := time.Parse(layout, e.Zone)
		if err != nil {
			return nil, err
		}
		_, seconds := at.Zone()
		return time.FixedZone(e.Zone, seconds), nil
	}
	loc, err := time.LoadLocation(e.Zone)
	if err != nil || e.Zone == "Local" {
		return nil, fmt.Errorf("%q is no time zone: write a name as Europe/Berlin or UTC, or an offset as +02:00", e.Zone)
	}
	return loc, nil
}
