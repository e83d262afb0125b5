package flights

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Model is the model that the requests are for; labels name it.
const Model = "flights_delay"

// MaxEventBytes bounds the value of one event.
const MaxEventBytes = 512

// Kind tells requests from labels.
type Kind uint8

// The kinds of events.
const (
	KindRequest Kind = iota // a flight departs
	KindLabel               // a flight has landed, and its delay is known
)

// Event is one event of the replay.
type Event struct {
	Kind   Kind
	Flight int    // number of the flight in event-time order, from 0
	Time   int64  // event time: departure or landing, Unix milliseconds
	Key    []byte // the request id, in requests and labels alike; lies within Value
	Value  []byte // JSON
}

// Features are the numeric features of a request. Delays are in eighths of a minute, so
// that they are exact.
type Features struct {
	Distance            int32
	MinuteOfDay         int32 // the feature hour is this / 60, in float32
	DayOfWeek           int32 // 1 is Monday
	NetworkDelay8       int32
	OriginDelay8        int32
	InboundDelay8       int32
	DestinationDelay8   int32
	InboundLandings     int32
	DestinationLandings int32
}

const (
	minutesPerDay   = 24 * 60
	networkMinutes  = 120
	outboundMinutes = 180
	inboundMinutes  = 120
	delayFloor      = -60
	delayCeiling    = 180
	shrink          = 5 // weight of the network's mean among an airport's landings
)

// Source is the replay. It is not safe for concurrent use.
type Source struct {
	table       *timetable
	requests    int // flights departed so far
	labels      int // flights landed so far
	network     window
	airports    []airport
	features    Features // of the latest request
	minute      int32    // that the next two were made for
	departure   []byte   // …,"departure":978307260000,"origin":"
	hourAndDay  []byte   // ,"hour":0.016666668,"day_of_week":1
	nextLanding int32    // minute of the next label; math.MaxInt32 after the last
}

// airport is what is known at one airport.
type airport struct {
	code     string
	outbound window // flights that left here, by landing
	inbound  window // flights that landed here
}

// Open reads the flights and stands before the first. limit keeps only the first flights
// in event-time order; 0 takes all.
func Open(path string, limit int) (*Source, error) {
	if limit < 0 {
		return nil, fmt.Errorf("open flights: limit must be at least 0, got %d", limit)
	}
	t, err := read(path)
	if err != nil {
		return nil, err
	}
	n := len(t.departure)
	if limit > 0 {
		n = min(n, limit)
	}
	if err := t.truncate(n); err != nil {
		return nil, fmt.Errorf("open flights %s: %w", path, err)
	}
	s := &Source{table: t}
	s.Reset()
	return s, nil
}

// Reset goes back to before the first flight.
func (s *Source) Reset() {
	t := s.table
	*s = Source{table: t, network: newWindow(networkMinutes, 4096), airports: make([]airport, len(t.airports)), minute: -1}
	for i, code := range t.airports {
		s.airports[i] = airport{code, newWindow(outboundMinutes, 64), newWindow(inboundMinutes, 64)}
	}
	s.departure = make([]byte, 0, 64)
	s.hourAndDay = make([]byte, 0, 64)
	s.nextLanding = t.landing(t.landed[0])
}

// Flights is the number of requests, and of labels, that the whole replay has.
func (s *Source) Flights() int { return len(s.table.departure) }

// Features returns those of the latest request.
func (s *Source) Features() Features { return s.features }

// Next appends the value of the next event to dst and describes it in e, whose Key and
// Value then lie in the returned slice. It returns false after the last label.
//
// Every label of a flight that has landed comes before a request whose departure is at
// or after the landing. Next does not allocate where dst has MaxEventBytes to spare; a
// caller that hands events on fills a buffer with them, and takes a new one when it is full.
func (s *Source) Next(dst []byte, e *Event) ([]byte, bool) {
	now := int32(math.MaxInt32)
	if s.requests < len(s.table.departure) {
		now = s.table.departure[s.requests]
	}
	if s.labels < len(s.table.landed) && s.nextLanding <= now {
		return s.label(dst, e), true
	}
	if s.requests < len(s.table.departure) {
		return s.request(dst, e), true
	}
	return dst, false
}

func (s *Source) label(dst []byte, e *Event) []byte {
	flight, landing := s.table.landed[s.labels], s.nextLanding
	s.labels++
	if s.labels < len(s.table.landed) {
		s.nextLanding = s.table.landing(s.table.landed[s.labels])
	}
	delay := int32(s.table.delay[flight])
	known := min(max(delay, delayFloor), delayCeiling)
	s.network.add(landing, known)
	s.airports[s.table.origin[flight]].outbound.add(landing, known)
	s.airports[s.table.destination[flight]].inbound.add(landing, known)

	at := int64(landing) * 60_000
	start := len(dst)
	dst = append(dst, `{"request_id":"`...)
	dst = appendID(dst, flight)
	dst = append(dst, `","model":"`+Model+`","label":`...)
	dst = strconv.AppendInt(dst, int64(delay), 10)
	dst = append(dst, `,"observed_at":`...)
	dst = strconv.AppendInt(dst, at, 10)
	dst = append(dst, '}')
	e.set(KindLabel, flight, at, dst[start:])
	return dst
}

func (s *Source) request(dst []byte, e *Event) []byte {
	t := s.table
	flight := int32(s.requests)
	s.requests++
	minute := t.departure[flight]
	origin, destination := &s.airports[t.origin[flight]], &s.airports[t.destination[flight]]
	f := &s.features
	if minute != s.minute {
		s.newMinute(minute)
	}
	f.Distance = int32(t.distance[flight])
	s.network.expire(minute)
	network := s.network.mean()
	origin.outbound.expire(minute)
	origin.inbound.expire(minute)
	destination.inbound.expire(minute)
	f.NetworkDelay8 = round8(network)
	f.OriginDelay8 = origin.outbound.shrunk8(network)
	f.InboundDelay8 = origin.inbound.shrunk8(network)
	f.DestinationDelay8 = destination.inbound.shrunk8(network)
	f.InboundLandings = origin.inbound.n
	f.DestinationLandings = destination.inbound.n

	start := len(dst)
	dst = append(dst, `{"request_id":"`...)
	dst = appendID(dst, flight)
	dst = append(dst, s.departure...)
	dst = append(dst, origin.code...)
	dst = append(dst, `","destination":"`...)
	dst = append(dst, destination.code...)
	dst = append(dst, `","distance":`...)
	dst = strconv.AppendInt(dst, int64(f.Distance), 10)
	dst = append(dst, s.hourAndDay...)
	dst = append(dst, `,"network_delay":`...)
	dst = appendEighths(dst, f.NetworkDelay8)
	dst = append(dst, `,"origin_delay":`...)
	dst = appendEighths(dst, f.OriginDelay8)
	dst = append(dst, `,"inbound_delay":`...)
	dst = appendEighths(dst, f.InboundDelay8)
	dst = append(dst, `,"destination_delay":`...)
	dst = appendEighths(dst, f.DestinationDelay8)
	dst = append(dst, `,"inbound_landings":`...)
	dst = strconv.AppendInt(dst, int64(f.InboundLandings), 10)
	dst = append(dst, `,"destination_landings":`...)
	dst = strconv.AppendInt(dst, int64(f.DestinationLandings), 10)
	dst = append(dst, '}')
	e.set(KindRequest, flight, int64(minute)*60_000, dst[start:])
	return dst
}

// newMinute renders what all departures of a minute have in common.
func (s *Source) newMinute(minute int32) {
	s.minute = minute
	s.features.MinuteOfDay = minute % minutesPerDay
	s.features.DayOfWeek = (minute/minutesPerDay+3)%7 + 1
	s.departure = append(s.departure[:0], `","departure":`...)
	s.departure = strconv.AppendInt(s.departure, int64(minute)*60_000, 10)
	s.departure = append(s.departure, `,"origin":"`...)
	s.hourAndDay = append(s.hourAndDay[:0], `,"hour":`...)
	hour := float32(float64(s.features.MinuteOfDay) / 60)
	s.hourAndDay = strconv.AppendFloat(s.hourAndDay, float64(hour), 'g', -1, 32)
	s.hourAndDay = append(s.hourAndDay, `,"day_of_week":`...)
	s.hourAndDay = strconv.AppendInt(s.hourAndDay, int64(s.features.DayOfWeek), 10)
}

// idStart is where the request id stands in every value: after {"request_id":".
const (
	idStart = len(`{"request_id":"`)
	idBytes = len(`f0000000`)
)

func (e *Event) set(kind Kind, flight int32, time int64, value []byte) {
	e.Kind, e.Flight, e.Time = kind, int(flight), time
	e.Value = slices.Clip(value)
	e.Key = value[idStart : idStart+idBytes : idStart+idBytes]
}

// appendID appends the request id of a flight: f and seven digits, so that ids sort in
// event-time order.
func appendID(dst []byte, flight int32) []byte {
	n := len(dst)
	dst = append(dst, "f0000000"...)
	for i := n + idBytes - 1; flight > 0; i-- {
		dst[i] = '0' + byte(flight%10)
		flight /= 10
	}
	return dst
}

// appendEighths appends v/8 as a JSON number, as short as it is exact.
func appendEighths(dst []byte, v int32) []byte {
	if v < 0 {
		dst = append(dst, '-')
		v = -v
	}
	dst = strconv.AppendInt(dst, int64(v>>3), 10)
	return append(dst, eighths[v&7]...)
}

var eighths = [8]string{"", ".125", ".25", ".375", ".5", ".625", ".75", ".875"}

// round8 rounds to eighths of a minute.
func round8(x float64) int32 { return int32(math.Floor(8*x + 0.5)) }
