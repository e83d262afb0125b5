package onnx

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func TestWhatFeeds(t *testing.T) {
	all := []string{elementFloat, elementDouble, elementInt64, elementInt32, elementBool, elementString}
	for feature, want := range map[schemas.FeatureType][]string{
		schemas.TypeBool:     {elementFloat, elementDouble, elementInt64, elementInt32, elementBool},
		schemas.TypeInt32:    {elementFloat, elementDouble, elementInt64, elementInt32},
		schemas.TypeInt64:    {elementFloat, elementDouble, elementInt64},
		schemas.TypeFloat32:  {elementFloat, elementDouble},
		schemas.TypeFloat64:  {elementFloat, elementDouble},
		schemas.TypeString:   {elementString},
		schemas.TypeCategory: {elementFloat, elementDouble, elementInt64, elementInt32, elementString},
	} {
		var got []string
		for _, element := range all {
			if feeds(feature, element) && !cuts(feature, element) {
				got = append(got, element)
			}
		}
		require.Equal(t, want, got, feature)
	}
}

func TestLossySourcesAreNamed(t *testing.T) {
	m := &schemas.Manifest{Features: []schemas.Feature{{Name: "n", Type: schemas.TypeInt64}}}
	g := &Graph{Inputs: []Tensor{{Name: "x", Kind: kindTensor, Type: elementInt32, Shape: []int64{-1, 1}}}}
	_, _, err := planInputs(m, g)
	require.EqualError(t, err, `graph input "x" is int32 [?, 1], and the manifest says feature "n" is int64, which does not convert without loss: declare it as int32`)
}
