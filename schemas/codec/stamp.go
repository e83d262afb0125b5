package codec

import (
	"bytes"
	"time"

	"github.com/millrace/millrace/schemas"
)

// stamp is a time as a text writes it.
type stamp struct {
	us     int64 // microseconds since 1970, as if its zone were UTC
	offset int   // seconds east of UTC
	zoned  bool  // it says offset
}

// parseStamp reads a time in RFC 3339, and what languages make of a time by default: a space in place
// of the T, an offset without its colon, or of hours alone (Python, PostgreSQL), or behind a space, or
// the word UTC there (Ruby, Rust's chrono), no seconds where they are 0, and the name of the zone in
// brackets behind the offset, which counts (Java), or no offset at all, and a date alone, which is its
// midnight. Fractions are kept to the microsecond.
func parseStamp(text []byte) (s stamp, ok bool) {
	const whole = "dddd-dd-dd dd:dd:dd"
	const short, date = len("dddd-dd-dd dd:dd"), len("dddd-dd-dd")
	form := whole
	switch {
	case len(text) == date:
		form = whole[:date]
	case len(text) >= short && (len(text) == short || text[short] != ':'):
		form = whole[:short]
	}
	if len(text) < len(form) {
		return s, false
	}
	for i := range len(form) {
		switch c := text[i]; form[i] {
		case 'd':
			if c < '0' || c > '9' {
				return s, false
			}
		case ' ':
			if c != 'T' && c != ' ' && c != 't' {
				return s, false
			}
		default:
			if c != form[i] {
				return s, false
			}
		}
	}
	year, month, day := 100*twoDigits(text[0:])+twoDigits(text[2:]), twoDigits(text[5:]), twoDigits(text[8:])
	hour, minute, second := 0, 0, 0
	if len(form) > date {
		hour, minute = twoDigits(text[11:]), twoDigits(text[14:])
	}
	if len(form) == len(whole) {
		second = twoDigits(text[17:])
	}
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return s, false
	}
	at := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if at.Day() != day { // the month is shorter
		return s, false
	}
	s.us = at.UnixMicro()
	rest := text[len(form):]
	if len(form) == len(whole) && len(rest) > 0 && (rest[0] == '.' || rest[0] == ',') {
		digits := 0
		for unit := int64(100_000); digits+1 < len(rest) && rest[digits+1] >= '0' && rest[digits+1] <= '9'; unit /= 10 {
			digits++
			s.us += unit * int64(rest[digits]-'0')
		}
		if digits == 0 {
			return s, false
		}
		rest = rest[digits+1:]
	}
	if len(rest) == 0 {
		return s, true
	}
	s.zoned = true
	if s.offset, ok = parseOffset(rest); !ok {
		return s, false
	}
	return s, true
}

// parseOffset reads Z, UTC, +hh:mm, +hhmm or +hh, in seconds east of UTC, also behind a space, and with
// the name of a zone in brackets behind it.
func parseOffset(text []byte) (seconds int, ok bool) {
	if at := bytes.IndexByte(text, '['); at > 0 && text[len(text)-1] == ']' {
		text = text[:at]
	}
	if text[0] == ' ' {
		text = text[1:]
	}
	switch string(text) {
	case "Z", "z", "UTC":
		return 0, true
	}
	if len(text) == 6 && text[3] == ':' {
		text = []byte{text[0], text[1], text[2], text[4], text[5]}
	}
	if len(text) != 3 && len(text) != 5 || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	for _, c := range text[1:] {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	hours, minutes := twoDigits(text[1:]), 0
	if len(text) == 5 {
		minutes = twoDigits(text[3:])
	}
	if hours > 23 || minutes > 59 {
		return 0, false
	}
	seconds = 3600*hours + 60*minutes
	if text[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

func twoDigits(text []byte) int { return 10*int(text[0]-'0') + int(text[1]-'0') }

// zone says when it is where requests write times without saying where. The zero value knows of no
// place.
type zone struct {
	loc    *time.Location
	lo, hi int64 // local seconds, from lo to before hi, that all have offset
	offset int64 // seconds east of UTC
}

// utc returns the microseconds since 1970 of a local time. A time that the clocks show twice is the
// first; one that they leave out is taken by the offset before (as Python does, with fold=0).
func (z *zone) utc(us int64) int64 {
	local := us / 1_000_000
	if us%1_000_000 < 0 {
		local--
	}
	if local < z.lo || local >= z.hi {
		z.find(local)
	}
	return us - z.offset*1_000_000
}

// find finds the offset of a local time, and how far around it that holds.
func (z *zone) find(local int64) {
	const day = 24 * 3600 // more than any offset, and less than between two changes of one
	offset := func(unix int64) int64 {
		_, o := time.Unix(unix, 0).In(z.loc).Zone()
		return int64(o)
	}
	before, after := offset(local-day), offset(local+day)
	z.offset, z.lo, z.hi = before, local, local+1
	if before != after {
		if offset(local-before) != before && offset(local-after) == after {
			z.offset = after
		}
		return
	}
	// Until a day from the next change, and since a day behind the last, nothing is shown twice or
	// left out.
	start, end := time.Unix(local-before, 0).In(z.loc).ZoneBounds()
	z.lo, z.hi = schemas.MinMicros/1_000_000, schemas.MaxMicros/1_000_000
	if !start.IsZero() {
		z.lo = start.Unix() + 2*day
	}
	if !end.IsZero() {
		z.hi = end.Unix() - 2*day
	}
	if local < z.lo || local >= z.hi {
		z.lo, z.hi = local, local+1
	}
}

// ParseTime reads a time as requests write it, in microseconds since 1970. One that does not say its
// zone is of the zone loc, nil: of UTC; zoned tells whether it does.
func ParseTime(text []byte, loc *time.Location) (us int64, zoned, ok bool) {
	s, ok := parseStamp(text)
	switch {
	case s.zoned:
		return s.us - int64(s.offset)*1_000_000, true, ok
	case loc == nil:
		return s.us, false, ok
	default:
		return LocalTime(s.us, loc), false, ok
	}
}

// LocalTime returns when it is in a zone, in microseconds since 1970, what us is in UTC.
func LocalTime(us int64, loc *time.Location) int64 {
	z := zone{loc: loc}
	return z.utc(us)
}

// parse reads a time as text, in microseconds since 1970.
func (z *zone) parse(text []byte) (us int64, ok bool) {
	s, ok := parseStamp(text)
	switch {
	case !ok || !s.zoned && z.loc == nil:
		return 0, false
	case s.zoned:
		return s.us - int64(s.offset)*1_000_000, true
	default:
		return z.utc(s.us), true
	}
}

// wrongTime refuses what parse does not take.
func (z *zone) wrongTime(name string, v *value) *schemas.RequestError {
	const want = "a time in RFC 3339, like 2001-02-03T04:05:06Z"
	if _, ok := parseStamp(v.text); ok {
		return wrongType(name, want+", and with its zone, unless event_time.zone of the manifest says it", v)
	}
	return wrongType(name, want, v)
}
