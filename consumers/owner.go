package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace/millrace/schemas"
)

// ownedError says that another group of recorders, which is at work, stores a topic's records.
type ownedError struct {
	topic, group, owner string
	members             int
}

func (e *ownedError) Error() string {
	return fmt.Sprintf("topic %s is recorded by group %q, which has %d members; stop the old one first: group %q would store every row a second time beside it",
		e.topic, e.owner, e.members, e.group)
}

// errReclaimed ends a session whose group has lost the rows and claimed them again: what the
// session knows of them is out of date.
var errReclaimed = errors.New("another group has owned the rows since this session began")

const (
	claimPause   = time.Second      // between two tries
	claimTimeout = 30 * time.Second // of a try
)

// claims waits until this group owns the rows of all topics that exist, and returns its claims by
// topic id.
func (r *Recorder) claims(ctx context.Context, store Storer) (map[uuid.UUID]schemas.Claim, error) {
	cl, err := r.cfg.Dial()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConfiguration, err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for said := ""; ; {
		claims, err := r.claim(ctx, adm, store)
		if err == nil {
			return claims, nil
		}
		if ctx.Err() == nil {
			r.health(err)
			if text := err.Error(); text != said { // once, not at each try
				said = text
				r.log.Error().Err(err).Msg("cannot record; trying again")
			}
		}
		if err := sleep(ctx, claimPause); err != nil {
			return nil, err
		}
	}
}

func (r *Recorder) claim(ctx context.Context, adm *kadm.Client, store Storer) (map[uuid.UUID]schemas.Claim, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	details, err := adm.ListTopics(ctx, r.cfg.Topics...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	claims := map[uuid.UUID]schemas.Claim{}
	for _, topic := range r.cfg.Topics {
		d := details[topic]
		if errors.Is(d.Err, kerr.UnknownTopicOrPartition) { // it is claimed by the session that finds it
			continue
		}
		if d.Err != nil {
			return nil, fmt.Errorf("list topic %s: %w", topic, d.Err)
		}
		id := topicIDOf(d.ID, topic)
		if claims[id], err = r.own(ctx, adm, store, topic, id); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// own makes the group the owner of a topic's rows, unless their owner is a group with members.
//
// A member of the old group may join, and find that its group owns the rows, after the members
// were counted and before the claim arrives. Since it joins before it looks, the members are
// counted once more after the claim. A group that waits at this second count owns the rows and has
// no member; so whoever claims them from it also counts the members of the owner before it.
func (r *Recorder) own(ctx context.Context, adm *kadm.Client, store Storer, topic string, id uuid.UUID) (schemas.Claim, error) {
	claim, err := store.Claim(ctx, topic, id, r.cfg.Name, "")
	if err != nil {
		return claim, err
	}
	if before := claim.Group; before != r.cfg.Name {
		for _, group := range []string{before, claim.From} {
			if err := r.unowned(ctx, adm, topic, group); err != nil {
				return claim, err
			}
		}
		if claim, err = store.Claim(ctx, topic, id, r.cfg.Name, before); err != nil {
			return claim, err
		}
		if claim.Group != r.cfg.Name {
			return claim, &ownedError{topic: topic, group: r.cfg.Name, owner: claim.Group, members: 1}
		}
		r.log.Warn().Str("topic", topic).Str("group", r.cfg.Name).Str("owner", before).
			Msg("the rows of a topic were another group's, which has no members any more; this one records from now on, and looks for what is stored")
	}
	return claim, r.unowned(ctx, adm, topic, claim.From)
}

// unowned returns an error if a group that has owned a topic's rows has members.
func (r *Recorder) unowned(ctx context.Context, adm *kadm.Client, topic, owner string) error {
	if owner == "" || owner == r.cfg.Name {
		return nil
	}
	members, err := membersOf(ctx, adm, owner)
	if err == nil && members > 0 {
		err = &ownedError{topic: topic, group: r.cfg.Name, owner: owner, members: members}
	}
	return err
}

// membersOf returns how many members a group has.
func membersOf(ctx context.Context, adm *kadm.Client, group string) (int, error) {
	described, err := adm.DescribeGroups(ctx, group)
	if err == nil {
		err = described[group].Err
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("describe group %s: %w", group, lacking(err, onGroup("Describe", group)))
	}
	return len(described[group].Members), nil
}
