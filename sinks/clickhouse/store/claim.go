package store

import (
	"context"
	"fmt"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
)

// Claim makes a group the owner of the rows of a topic where nobody owns them yet or the
// group named by from does, and returns whose they are then. The server looks and writes in one
// statement: of two that claim at the same time the later one wins, and who looks again before
// it stores finds that.
func (s *Store) Claim(ctx context.Context, topic string, id uuid.UUID, group, from string) (schemas.Claim, error) {
	claim, err := s.claim(ctx, topic, id)
	if err != nil || claim.Group != "" && claim.Group != from || claim.Group == group {
		return claim, err
	}
	first := claim.Group == ""
	table := s.client.Database() + ".recorder_groups"
	err = s.client.Tell(ctx, "INSERT INTO "+table+" (topic_id, topic, recorder_group, taken_from, claimed_at)\n"+
		"SELECT {id:String}, {topic:String}, {group:String}, {from:String},\n"+
		"    greatest(now64(6, 'UTC'), (SELECT max(claimed_at) FROM "+table+" WHERE topic_id = {id:String}) + toIntervalMicrosecond(1))\n"+
		"WHERE (SELECT count() FROM "+table+" FINAL WHERE topic_id = {id:String} AND recorder_group != {from:String}) = 0",
		ch.Named("id", id.String()), ch.Named("topic", topic), ch.Named("group", group), ch.Named("from", claim.Group))
	if err != nil {
		return schemas.Claim{}, fmt.Errorf("claim the rows of topic %s for group %s: %w", topic, group, err)
	}
	claim, err = s.claim(ctx, topic, id)
	claim.First = first && claim.Group == group
	return claim, err
}

// Owner returns whose the rows of a topic are, the zero Claim where they are nobody's.
func (s *Store) Owner(ctx context.Context, topic string, id uuid.UUID) (schemas.Claim, error) {
	return s.claim(ctx, topic, id)
}

// claim returns the latest claim on a topic's rows that any server knows, the zero Claim if there is none.
func (s *Store) claim(ctx context.Context, topic string, id uuid.UUID) (last schemas.Claim, err error) {
	var claims []struct {
		Group string    `ch:"recorder_group"`
		From  string    `ch:"taken_from"`
		At    time.Time `ch:"claimed_at"`
	}
	err = s.client.AskEach(ctx, &claims, func() (done bool) {
		for _, c := range claims {
			if c.At.After(last.At) {
				last = schemas.Claim{Group: c.Group, From: c.From, At: c.At}
			}
		}
		return false
	}, "SELECT recorder_group, taken_from, claimed_at FROM "+s.client.Database()+".recorder_groups FINAL WHERE topic_id = ?", id.String())
	if err != nil {
		return last, fmt.Errorf("look whose the rows of topic %s are: %w", topic, err)
	}
	return last, nil
}
