// Package compare compares two tables column by column: it chooses the tests, judges what
// drifted, and writes the report.
package compare

// Result is a comparison, in the shape of its JSON form. Fields are only ever added.
// A figure that does not exist is absent or null, never NaN.
type Result struct {
	Reference    Input          `json:"reference"`
	Current      Input          `json:"current"`
	Dataset      Dataset        `json:"dataset"`
	Columns      []Column       `json:"columns"` // in the reference's order
	Multivariate []Multivariate `json:"multivariate,omitempty"`
	Quality      *Quality       `json:"quality,omitempty"`  // of the model; with target and prediction columns
	Segments     []Segment      `json:"segments,omitempty"` // one a value of the segment column
	LeftOut      []LeftOut      `json:"left_out,omitempty"` // columns that are not compared, but for those that were to be ignored
	Notes        []string       `json:"notes,omitempty"`    // what was sampled, skipped or left out, and why
	Seed         uint64         `json:"seed"`
	Version      string         `json:"version"` // of this schema
}

// LeftOut is a column that is not compared.
type LeftOut struct {
	Column string `json:"column"`
	Reason string `json:"reason"` // one of the words below
}

// Reasons of LeftOut. Those of what could not be read may decide the data set's verdict.
const (
	LeftTimes         = "times"           // which every new period shifts
	LeftIdentifier    = "identifier"      // most texts are different
	LeftOnlyReference = "only_reference"  // the current side has no such column
	LeftOnlyCurrent   = "only_current"    // the reference has no such column
	LeftNested        = "nested"          // not read: lists and structures
	LeftTypes         = "types_differ"    // not read: the sides hold different things
	LeftNumbers       = "numbers_as_text" // not read: numbers as people write them
	LeftMemory        = "memory"          // not read: its categories are more than fit the memory allowed
)

// unread says that the column could not be read, and might have drifted.
func (l LeftOut) unread() bool {
	return l.Reason == LeftNested || l.Reason == LeftTypes || l.Reason == LeftNumbers || l.Reason == LeftMemory
}

// Input is one side.
type Input struct {
	Name           string `json:"name"`
	Rows           int64  `json:"rows"`
	DuplicatedRows *int64 `json:"duplicated_rows,omitempty"` // nil where not counted
}

// Dataset is the verdict over all columns.
type Dataset struct {
	Drifted    bool     `json:"drifted"`
	Verdict    string   `json:"verdict"`              // drifted, ok or not_judged
	Share      float64  `json:"share"`                // drifted columns of the judged ones, 0 to 1
	Columns    int      `json:"columns"`              // judged
	NotJudged  int      `json:"not_judged"`           // columns, of which nothing is said; those that were left out are not among them
	Threshold  float64  `json:"threshold"`            // share from which the data set drifts
	Rule       string   `json:"rule"`                 // rate or evidently
	Rate       *float64 `json:"rate,omitempty"`       // of data sets in which a column is called drifted though none is
	Effect     *float64 `json:"effect,omitempty"`     // the least that is called drift
	Detectable *float64 `json:"detectable,omitempty"` // a column in which even this may be missed is not judged
	Correction string   `json:"correction,omitempty"`
}

// Column kinds.
const (
	TypeNumeric     = "num"
	TypeCategorical = "cat"
)

// Roles of a column.
const (
	RoleTarget     = "target"
	RolePrediction = "prediction"
)

// Verdicts of a column.
const (
	VerdictDrifted = "drifted"
	VerdictOK      = "ok"
	VerdictTooFew  = "too_few" // fewer values than the minimum on a side: not judged

	// VerdictNotJudged is of a column for which its test has no answer, or would have found no
	// drift of a sensible size; the explanation says why.
	VerdictNotJudged = "not_judged"
)

// Column is the comparison of one column.
type Column struct {
	Column           string           `json:"column"`
	Type             string           `json:"type"`           // num or cat
	Role             string           `json:"role,omitempty"` // target or prediction; empty for a feature
	Stattest         string           `json:"stattest"`
	Score            *float64         `json:"score"`                     // the statistic or distance; null where not judged
	PValue           *float64         `json:"p_value,omitempty"`         // corrected when Dataset.Correction is set
	RawPValue        *float64         `json:"raw_p_value,omitempty"`     // before the correction, where there is one
	SciPyPValue      *float64         `json:"scipy_p_value,omitempty"`   // uncorrected, where the p-value is not by SciPy's method
	EffectSize       *float64         `json:"effect_size,omitempty"`     // by the rule rate, of a distance what is left of it without Expected
	Expected         *float64         `json:"expected,omitempty"`        // a distance where nothing drifted, at these sizes
	SmallestEffect   *float64         `json:"smallest_effect,omitempty"` // that would have been found in 80 % of cases
	Threshold        float64          `json:"threshold"`                 // of the p-value; of a distance the score
	Calibrated       bool             `json:"calibrated,omitempty"`      // judged by chunks of the reference
	Drifted          bool             `json:"drifted"`
	Verdict          string           `json:"verdict"`
	Method           string           `json:"method,omitempty"`  // as stattest.Result
	Sampled          bool             `json:"sampled,omitempty"` // values beyond the budget: from a sample
	Explanation      string           `json:"explanation"`       // one sentence
	NReference       int64            `json:"n_reference"`       // rows with a value
	NCurrent         int64            `json:"n_current"`
	MissingReference int64            `json:"missing_reference"`
	MissingCurrent   int64            `json:"missing_current"`
	Bins             Bins             `json:"bins"`
	DataQuality      DataQuality      `json:"data_quality"`
	Tests            map[string]Trial `json:"tests,omitempty"` // with --all-tests
}

// Bins are both distributions over the reference's cells. Numeric: len(Edges)-1 bins, the
// first and last of which also take what lies outside. Categorical: one cell a category.
type Bins struct {
	Edges      []float64 `json:"edges,omitempty"`
	Categories []string  `json:"categories,omitempty"` // the last may be "(other)"
	Reference  []float64 `json:"reference"`            // rows
	Current    []float64 `json:"current"`
	Total      int       `json:"total,omitempty"` // of the categories, where not all are listed
}

// Trial is one test of --all-tests.
type Trial struct {
	Score      *float64 `json:"score"`
	PValue     *float64 `json:"p_value,omitempty"` // corrected as a column's
	EffectSize *float64 `json:"effect_size,omitempty"`
	Expected   *float64 `json:"expected,omitempty"`
	Threshold  float64  `json:"threshold"`
	Drifted    bool     `json:"drifted"`
	Error      string   `json:"error,omitempty"` // why there is no score
}

// DataQuality is what is wrong with a column's values.
type DataQuality struct {
	Reference SideQuality `json:"reference"`
	Current   SideQuality `json:"current"`

	NewCategories      []string `json:"new_categories,omitempty"` // at most 20, most frequent first
	VanishedCategories []string `json:"vanished_categories,omitempty"`
	NewRows            int64    `json:"new_rows,omitempty"`     // current rows of any new category
	OutOfRange         int64    `json:"out_of_range,omitempty"` // current values outside the reference's range
	DuplicateOf        string   `json:"duplicate_of,omitempty"` // an earlier column with the same values on both sides

	NewCategoriesTotal      int64 `json:"new_categories_total,omitempty"` // of which the most frequent are listed
	VanishedCategoriesTotal int64 `json:"vanished_categories_total,omitempty"`
}

// SideQuality is one side of a column.
type SideQuality struct {
	Distinct   int64     `json:"distinct"`
	Constant   bool      `json:"constant,omitempty"`
	Infinite   int64     `json:"infinite,omitempty"`
	TypeErrors int64     `json:"type_errors,omitempty"` // values that are not of the column's type, counted as missing
	Min        *float64  `json:"min,omitempty"`
	Max        *float64  `json:"max,omitempty"`
	Mean       *float64  `json:"mean,omitempty"`
	Std        *float64  `json:"std,omitempty"`
	Quantiles  []float64 `json:"quantiles,omitempty"` // at 0.01 0.05 0.25 0.5 0.75 0.95 0.99

	times bool // values are seconds since 1970
}

// Multivariate is a comparison of several columns together.
type Multivariate struct {
	Method        string         `json:"method"` // pca_reconstruction, domain_classifier, energy
	Score         float64        `json:"score"`
	Reference     *float64       `json:"reference,omitempty"` // the score of the reference itself
	Threshold     *float64       `json:"threshold,omitempty"`
	UpperLimit    *float64       `json:"upper_limit,omitempty"`
	PValue        *float64       `json:"p_value,omitempty"`
	EffectSize    *float64       `json:"effect_size,omitempty"` // of pca_reconstruction, by the rule rate: the difference of the mean errors in their standard deviations
	Drifted       bool           `json:"drifted"`
	Columns       []string       `json:"columns"`
	Contributions []Contribution `json:"contributions"` // greatest first
	Rows          int64          `json:"rows"`          // used of each side at most
}

// Contribution is a column's part.
type Contribution struct {
	Column string  `json:"column"`
	Share  float64 `json:"share"` // of the whole, 0 to 1
}

// Quality is the model's, on both sides.
type Quality struct {
	Task     string   `json:"task"` // binary, multiclass, regression
	Target   string   `json:"target"`
	Positive string   `json:"positive,omitempty"` // of a binary task, the class that precision and recall are of
	Metrics  []Metric `json:"metrics"`
}

// Metric is one figure of quality with its confidence interval, or why there is none. A figure
// whose intervals would not hold 95 % on any rows, such as log loss, has neither.
type Metric struct {
	Metric            string      `json:"metric"`
	LowerIsBetter     bool        `json:"lower_is_better,omitempty"`
	Reference         *float64    `json:"reference"`
	Current           *float64    `json:"current"`
	ReferenceInterval *[2]float64 `json:"reference_interval,omitempty"` // 95 %
	CurrentInterval   *[2]float64 `json:"current_interval,omitempty"`

	ReferenceNoInterval string `json:"reference_no_interval,omitempty"` // such as too few rows
	CurrentNoInterval   string `json:"current_no_interval,omitempty"`
}

// Segment is the comparison of the rows with one value of the segment column.
type Segment struct {
	Segment string   `json:"segment"`
	Dataset Dataset  `json:"dataset"`
	Columns []Column `json:"columns"`
}
