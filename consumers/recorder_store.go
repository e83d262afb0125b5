package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/schemas"
)

// storeHand stores a hand: first what may be stored already.
func (s *recorderSession) storeHand(going context.Context, h *hand) error {
	for backoff := time.Duration(0); ; {
		err := s.prove(going)
		if err == nil {
			break
		}
		if owned := (*ownedError)(nil); errors.As(err, &owned) || errors.Is(err, errReclaimed) {
			return err
		}
		if err := s.retry(going, &backoff, len(h.in.records), err); err != nil {
			return err
		}
	}
	replays, earlier, err := s.plan(h.in.records)
	if err != nil {
		return err
	}
	if err := s.storeAll(going, h, h.in.records[:replays], true, earlier); err != nil {
		return err
	}
	return s.storeAll(going, h, h.in.records[replays:], false, nil)
}

// finish waits until nothing is being stored and moves the positions behind what was.
func (s *recorderSession) finish() error {
	f := s.storing
	if f == nil {
		return nil
	}
	<-f.done.Done()
	f.quit()
	s.storing = nil
	if f.err != nil {
		return f.err
	}
	s.Stats.Flushes.Add(1)
	s.Stats.Records.Add(int64(len(f.in.records)))
	s.stored(f.hand)
	s.spare = f.hand
	s.passed()
	return nil
}

// plan moves the records that may be stored already to the front, and tells how many they
// are, and the leases of those who may have begun to store them.
func (s *recorderSession) plan(records []schemas.Record) (replays int, earlier []schemas.Lease, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []schemas.Record
	for _, rec := range records {
		p, ok := s.positions[topicPartition{rec.Topic, rec.Partition}]
		if !ok {
			return 0, nil, fmt.Errorf("topic %s partition %d: a record came in, but it is not known how far it is stored: the topic was made, or Kafka was away, when the partition was assigned", rec.Topic, rec.Partition)
		}
		if rec.TopicID != p.topicID && isOther(rec.TopicID, p.topicID, rec.Topic) {
			return 0, nil, fmt.Errorf("topic %s partition %d: it was made again while the session began", rec.Topic, rec.Partition)
		}
		if p.next < 0 {
			p.next = rec.Offset
		}
		if rec.Offset < p.pending {
			records[replays] = rec
			replays++
			for _, l := range p.earlier {
				if !slices.Contains(earlier, l) {
					earlier = append(earlier, l)
				}
			}
		} else {
			fresh = append(fresh, rec)
		}
	}
	copy(records[replays:], fresh)
	return replays, earlier, nil
}

// settled takes note that leases are over.
func (s *recorderSession) settled(leases []schemas.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.positions {
		p.earlier = slices.DeleteFunc(p.earlier, func(l schemas.Lease) bool { return slices.Contains(leases, l) })
	}
}

// announce commits that a hand may be stored from now on, within the lease. All earlier leases
// of its range must be over.
func (s *recorderSession) announce(h *hand, lease schemas.Lease) error {
	s.mu.Lock()
	for tp, end := range h.ends {
		if p, ok := s.positions[tp]; ok && p.next >= 0 {
			p.pending, p.lease, p.changed = max(p.pending, end.Offset), lease, true
		}
	}
	s.mu.Unlock()
	return s.commit()
}

// stored moves the positions behind a hand and empties it.
func (s *recorderSession) stored(h *hand) {
	s.mu.Lock()
	for tp, end := range h.ends {
		if p, ok := s.positions[tp]; ok {
			p.next, p.epoch, p.changed = end.Offset, end.Epoch, true
			if p.next >= p.pending { // the lease is that of its range
				p.lease, p.earlier = schemas.Lease{}, nil
			}
		}
	}
	s.mu.Unlock()
	h.reset()
	s.idle = time.Now()
}

// storeAll tries to store records of a hand until it succeeds, or the group refuses its announcement,
// or going or hard ends; a try that has begun goes on when going ends. A replay waits for earlier,
// the leases of recorders that may have begun to store the records.
func (s *recorderSession) storeAll(going context.Context, h *hand, records []schemas.Record, replay bool, earlier []schemas.Lease) error {
	if len(records) == 0 {
		return nil
	}
	for backoff := time.Duration(0); ; {
		lease, err := s.lease(going, replay, &earlier)
		if err == nil {
			// Others may be storing them by now if the group has given up on this recorder.
			if err := s.announce(h, lease); err != nil {
				return err
			}
			if replay {
				s.Stats.Replayed.Add(int64(len(records)))
			}
			began := time.Now()
			if s.paced.Before(began) {
				s.paced = began
			}
			var inserts int
			inserts, err = s.store.Store(s.hard, records, replay, lease)
			if replay || err != nil {
				s.took = time.Since(began)
			}
			s.paced = paced(s.paced, time.Now(), inserts)
			if err == nil {
				return nil
			}
			replay = true
		}
		if err := s.retry(going, &backoff, len(records), err); err != nil {
			return err
		}
	}
}

// retry waits after a try to store that failed; it returns the failure if going ends.
func (s *recorderSession) retry(going context.Context, backoff *time.Duration, records int, err error) error {
	err = fmt.Errorf("store %d records: %w", records, err)
	if going.Err() != nil {
		return err
	}
	s.Stats.Retries.Add(1)
	*backoff = longer(*backoff)
	s.log.Error().Err(err).Int("records", records).Dur("retry_in", *backoff).Msg("storing failed; trying again")
	if sleep(going, max(*backoff, time.Until(s.paced))) != nil {
		return err
	}
	return nil
}

// lease returns a new lease, for a replay after everything before it is settled, which
// empties earlier.
func (s *recorderSession) lease(ctx context.Context, replay bool, earlier *[]schemas.Lease) (schemas.Lease, error) {
	within := s.cfg.InsertDeadline
	if replay {
		if len(*earlier) == 0 {
			*earlier = []schemas.Lease{{}} // what this recorder itself has begun
		}
		for _, l := range *earlier {
			if err := s.store.Settle(ctx, l); err != nil {
				return schemas.Lease{}, err
			}
		}
		s.settled(*earlier)
		*earlier = nil
		within += min(s.took, maxExtension)
	}
	now, err := s.store.Now(ctx)
	return schemas.Lease{Announced: now, Deadline: now.Add(within)}, err
}

// paced returns when the next flush may begin after one that could begin at until and has made so
// many inserts: insertPace later for each, and at most maxPace from now.
func paced(until, now time.Time, inserts int) time.Time {
	until = until.Add(time.Duration(inserts) * insertPace)
	if latest := now.Add(maxPace); until.After(latest) {
		return latest
	}
	return until
}
