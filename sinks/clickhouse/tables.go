package clickhouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas"
)

// The tables of which each row is one record of a topic.
const (
	TableFeedback    = "feedback"
	TableDeadLetters = "dead_letters"
	TableEvents      = "events"
)

// ErrSchemaConflict says that a version's column has another type than the model's table.
// Nothing was changed; until the version is registered again with the type that the table
// has, or under another model name, its observations are refused.
var ErrSchemaConflict = errors.New("column type conflict")

// ConflictRemedy is what the operator does about an ErrSchemaConflict.
const ConflictRemedy = "register the version again with the column types of the table, or under another model name"

// EnsureTable makes the observations table of the schema's model take its rows: it creates
// the table, or adds the columns that it lacks, and lets a column that the version lacks or calls
// optional be NULL. It then brings the views in line: the one that feeds minute_states,
// and predictions. A schema that was seen before costs nothing. A column whose type
// differs is an ErrSchemaConflict, which is logged once.
func (c *Client) EnsureTable(ctx context.Context, schema *arrow.Schema) error {
	key := schema.String() // with its metadata
	c.mu.Lock()
	defer c.mu.Unlock() // one at a time: the statements would only race
	if c.tables[key] {
		return nil
	}
	model, version, err := schemas.SchemaModel(schema)
	if err != nil {
		return err
	}
	if err := c.ensureColumns(ctx, model, version, schema); err != nil {
		err = fmt.Errorf("table %s for version %s: %w", schemas.ObservationsTable(model), version, err)
		if errors.Is(err, ErrSchemaConflict) && !c.conflicts[key] {
			c.conflicts[key] = true
			c.log.Error().Err(err).Str("model", model).Str("version", version).
				Msg("observations become dead letters: " + ConflictRemedy)
		}
		return err
	}
	if err := c.ensureViews(ctx, model, version, schema.Metadata()); err != nil {
		return fmt.Errorf("views of model %s for version %s: %w", model, version, err)
	}
	c.tables[key] = true
	return nil
}

// ForgetTables makes the next EnsureTable look again, after something went wrong.
func (c *Client) ForgetTables() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.tables)
}

func (c *Client) ensureColumns(ctx context.Context, model, version string, schema *arrow.Schema) error {
	ddl, err := schemas.TableDDL(schema, c.storage)
	if err != nil {
		return err
	}
	table := schemas.ObservationsTable(model)
	local, err := c.Local(ctx, table)
	if err != nil {
		return err
	}
	have, err := c.columnTypes(ctx, local)
	if err != nil {
		return err
	}
	if len(have) == 0 {
		if err := c.define(ctx, ddl[0]); err != nil {
			return err
		}
		c.log.Info().Str("table", table).Msg("table created")
		if err := c.align(ctx, local); err != nil {
			return err
		}
		if have, err = c.columnTypes(ctx, local); err != nil {
			return err
		}
	}
	if have[schemas.ColumnStoredAt] == "" { // an earlier release has just made it
		if err := errors.Join(c.stamp(ctx, table), c.align(ctx, table)); err != nil {
			return err
		}
	}
	var conflicts []error
	var missing, widen []string
	for _, f := range schema.Fields() {
		optional := f.Nullable
		f.Nullable = false
		plain, err := schemas.ClickHouseType(f)
		if err != nil {
			return err
		}
		f.Nullable = true
		nullable, err := schemas.ClickHouseType(f)
		if err != nil {
			return err
		}
		switch typ, ok := have[f.Name]; {
		case !ok:
			missing = append(missing, f.Name)
		case typ == nullable: // takes both
		case typ == plain && optional:
			widen = append(widen, "MODIFY COLUMN `"+f.Name+"` "+nullable)
		case typ == plain:
		default:
			conflicts = append(conflicts, fmt.Errorf("%w: column %q is %s in the table and would be %s; nothing was changed", ErrSchemaConflict, f.Name, typ, plain))
		}
	}
	if err := errors.Join(conflicts...); err != nil {
		return err
	}
	// A column that this version does not have any more is NULL in its rows, not zero.
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if typ := have[name]; name != schemas.ColumnStoredAt && !schema.HasField(name) && !strings.Contains(typ, "Nullable(") {
			typ = "Nullable(" + typ + ")"
			if inner, ok := strings.CutPrefix(have[name], "LowCardinality("); ok {
				typ = "LowCardinality(Nullable(" + inner + ")"
			}
			widen = append(widen, "MODIFY COLUMN `"+name+"` "+typ)
		}
	}
	if len(missing) > 0 {
		if err := c.define(ctx, ddl[1]); err != nil {
			return err
		}
		c.log.Info().Str("table", table).Strs("columns", missing).Msg("columns added")
	}
	if len(widen) > 0 {
		// The views come first: those of an earlier release take no NULL, and fail with every insert.
		if err := c.alignDistributed(ctx, table); err != nil {
			return err
		}
		if err := c.ensureViews(ctx, model, version, schema.Metadata()); err != nil {
			return err
		}
		if err := c.define(ctx, "ALTER TABLE "+c.storage.Database+"."+table+" "+strings.Join(widen, ", ")); err != nil {
			return err
		}
		c.log.Info().Str("table", table).Strs("columns", widen).Msg("columns made nullable")
	}
	return errors.Join(c.rewriteWidened(ctx, table), c.alignDistributed(ctx, table))
}

// columnTypes returns the column types of a table, none if there is no such table.
func (c *Client) columnTypes(ctx context.Context, table string) (map[string]string, error) {
	var columns []struct {
		Name string `ch:"name"`
		Type string `ch:"type"`
	}
	err := c.Ask(ctx, &columns, "SELECT name, type FROM system.columns WHERE database = ? AND table = ?", c.storage.Database, table)
	if err != nil {
		return nil, err
	}
	types := make(map[string]string, len(columns))
	for _, col := range columns {
		types[col.Name] = col.Type
	}
	return types, nil
}

// HasTable tells whether the database has the table.
func (c *Client) HasTable(ctx context.Context, table string) (bool, error) {
	columns, err := c.columnTypes(ctx, table)
	return len(columns) > 0, err
}

// StoredColumns returns the columns of a model's observations table with their types, none if there is
// no such table.
func (c *Client) StoredColumns(ctx context.Context, model string) (map[string]string, error) {
	return c.columnTypes(ctx, schemas.ObservationsTable(model))
}

// ensureViews records the version and brings the views in line. Another process may do
// the same for another version: who reads the versions after writing the views and finds
// more than it knew does it again.
func (c *Client) ensureViews(ctx context.Context, model, version string, md arrow.Metadata) error {
	score, _ := md.GetValue(schemas.MetadataScore)
	outputs, _ := md.GetValue(schemas.MetadataOutputs)
	known, err := c.scores(ctx)
	if err != nil {
		return err
	}
	if have, ok := known[model][version]; !ok || have != score {
		row := []struct {
			Model   string    `ch:"model"`
			Version string    `ch:"version"`
			Outputs string    `ch:"outputs"`
			Score   string    `ch:"score"`
			SeenAt  time.Time `ch:"seen_at"`
		}{{model, version, outputs, score, time.Now().UTC()}}
		if err := c.InsertRows(ctx, "model_versions", row); err != nil {
			return err
		}
		if known, err = c.scores(ctx); err != nil {
			return err
		}
	}
	for {
		if err := c.ensureMinuteView(ctx, model, schemas.ScoreSQL(known[model])); err != nil {
			return err
		}
		again, err := c.scores(ctx)
		if err != nil {
			return err
		}
		if maps.Equal(known[model], again[model]) {
			return c.refreshPredictions(ctx)
		}
		known = again
	}
}

// scores returns the score output of each version by model, "" for a version without one.
func (c *Client) scores(ctx context.Context) (map[string]map[string]string, error) {
	var rows []struct {
		Model   string `ch:"model"`
		Version string `ch:"version"`
		Score   string `ch:"score"`
	}
	sites, err := c.Sites(ctx, "model_versions") // other recorders write there, through other servers
	if err != nil {
		return nil, err
	}
	if err := sites[0].Ask(ctx, &rows, "SELECT model, version, score FROM "+c.storage.Database+".model_versions FINAL"); err != nil {
		return nil, err
	}
	scores := map[string]map[string]string{}
	for _, r := range rows {
		if scores[r.Model] == nil {
			scores[r.Model] = map[string]string{}
		}
		scores[r.Model][r.Version] = r.Score
	}
	return scores, nil
}

// Models returns the models that have an observations table, in order.
func (c *Client) Models(ctx context.Context) ([]string, error) {
	scores, err := c.scores(ctx)
	if err != nil {
		return nil, err
	}
	return c.models(ctx, scores)
}

// models is Models for those whose versions are known.
func (c *Client) models(ctx context.Context, scores map[string]map[string]string) ([]string, error) {
	var tables []struct {
		Name string `ch:"name"`
	}
	prefix, err := c.Local(ctx, schemas.ObservationsTable(""))
	if err != nil {
		return nil, err
	}
	err = c.Ask(ctx, &tables, "SELECT name FROM system.tables WHERE database = ? AND startsWith(name, ?) AND endsWith(engine, 'MergeTree') ORDER BY name", c.storage.Database, prefix)
	if err != nil {
		return nil, err
	}
	var models []string
	for _, t := range tables {
		if model := strings.TrimPrefix(t.Name, prefix); scores[model] != nil {
			models = append(models, model)
		}
	}
	return models, nil
}

// StoredModels is Models for a database that may not be there.
func (c *Client) StoredModels(ctx context.Context) ([]string, error) {
	if ok, err := c.HasTable(ctx, "model_versions"); err != nil || !ok {
		return nil, err
	}
	return c.Models(ctx)
}

// ensureMinuteView makes the materialised view that feeds minute_states, or gives it the
// definition that it should have. Which one it has stands in its comment.
func (c *Client) ensureMinuteView(ctx context.Context, model, score string) error {
	db, view := c.storage.Database, schemas.MinuteViewName(model)
	query := schemas.MinuteStatesSelect(model, score, db+"."+schemas.ObservationsTable(model), "")
	comment := "Feeds minute_states. Definition " + definitionID(query)
	for range 10 {
		have, exists, err := c.comment(ctx, view)
		switch {
		case err != nil:
			return err
		case !exists:
			err = c.define(ctx, "CREATE MATERIALIZED VIEW IF NOT EXISTS "+db+"."+view+" TO "+db+".minute_states AS\n"+query+"\nCOMMENT '"+comment+"'")
		case have == comment:
			return nil // as it is after it was changed, perhaps by another process in between
		default:
			// In one statement: of two that change it at once, one could leave its comment to the
			// query of the other. The query is the last, since nothing ends it.
			if err = c.define(ctx, "ALTER TABLE "+db+"."+view+" MODIFY COMMENT '"+comment+"', MODIFY QUERY "+query); err == nil {
				c.log.Info().Str("view", view).Str("score", score).Msg("materialised view changed")
			}
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("view %s: other processes change it all the time", view)
}

// refreshPredictions makes the view predictions span the observations tables that there
// are now.
func (c *Client) refreshPredictions(ctx context.Context) error {
	for range 10 {
		query, err := c.predictionsQuery(ctx)
		if err != nil {
			return err
		}
		comment := "What was predicted, over all models. Definition " + definitionID(query)
		have, _, err := c.comment(ctx, "predictions")
		if err != nil {
			return err
		}
		if have == comment {
			return nil // as the tables were after the view was made
		}
		if err := c.define(ctx, "CREATE OR REPLACE VIEW "+c.storage.Database+".predictions AS\n"+query+"\nCOMMENT '"+comment+"'"); err != nil {
			return err
		}
	}
	return errors.New("view predictions: other processes change it all the time")
}

// predictionColumns are the columns of the view predictions and their types; "score"
// stands for the output that is the prediction.
var predictionColumns = []struct{ name, typ string }{
	{"model", "LowCardinality(String)"},
	{schemas.ColumnVersion, "LowCardinality(String)"},
	{schemas.ColumnVariant, "LowCardinality(String)"},
	{schemas.ColumnRequestID, "String"},
	{schemas.ColumnEventTime, "DateTime64(6, 'UTC')"},
	{schemas.ColumnScoredAt, "DateTime64(6, 'UTC')"},
	{schemas.ColumnOutcome, "LowCardinality(String)"},
	{schemas.ColumnErrorClass, "LowCardinality(String)"},
	{schemas.ColumnLatency, "Int64"},
	{schemas.ColumnQueue, "Nullable(Int64)"},
	{"prediction", "Nullable(Float64)"},
	{schemas.ColumnTopicID, "LowCardinality(String)"},
	{schemas.ColumnPartition, "Int32"},
	{schemas.ColumnOffset, "Int64"},
	{schemas.ColumnRow, "Int32"},
}

func (c *Client) predictionsQuery(ctx context.Context) (string, error) {
	scores, err := c.scores(ctx)
	if err != nil {
		return "", err
	}
	models, err := c.models(ctx, scores)
	if err != nil {
		return "", err
	}
	var selects []string
	for _, model := range models {
		var columns []string
		for _, col := range predictionColumns {
			expr := schemas.Observation + "." + col.name
			switch col.name {
			case "model":
				expr = "CAST('" + model + "', '" + col.typ + "')"
			case "prediction":
				expr = schemas.ScoreSQL(scores[model])
			case schemas.ColumnQueue: // not NULL in a table into which no later release has stored yet
				expr = "CAST(" + expr + ", '" + col.typ + "')"
			}
			columns = append(columns, expr+" AS "+col.name)
		}
		selects = append(selects, "SELECT "+strings.Join(columns, ", ")+"\nFROM "+c.storage.Database+"."+schemas.ObservationsTable(model)+" AS "+schemas.Observation)
	}
	if len(selects) == 0 {
		var columns []string
		for _, col := range predictionColumns {
			columns = append(columns, "defaultValueOfTypeName('"+strings.ReplaceAll(col.typ, "'", "\\'")+"') AS "+col.name)
		}
		return "SELECT " + strings.Join(columns, ", ") + " WHERE 0", nil
	}
	return strings.Join(selects, "\nUNION ALL\n"), nil
}

// comment returns a table's or view's comment.
func (c *Client) comment(ctx context.Context, table string) (comment string, exists bool, err error) {
	var rows []struct {
		Comment string `ch:"comment"`
	}
	err = c.Ask(ctx, &rows, "SELECT comment FROM system.tables WHERE database = ? AND name = ?", c.storage.Database, table)
	if err != nil || len(rows) == 0 {
		return "", false, err
	}
	return rows[0].Comment, true, nil
}

func definitionID(query string) string {
	h := sha256.Sum256([]byte(query))
	return hex.EncodeToString(h[:8])
}
