#include "concord/core/text.hpp"
#include "concord/study/study.hpp"

#include <nlohmann/json.hpp>

#include "support/support.hpp"

namespace concord::study {
namespace {

using test::expect_error;

Study study(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const auto path = test::empty_folder("study") / "s.toml";
  write_text_atomic(path, text);
  return Study(path, overrides);
}

TEST(Study, FillsInDefaultsAndOverrides) {
  const auto s = study("[sae]\nk = 7\n[model.a]\nlayers = [0, 3]\n", {"sae.latents=128", "study.name=a b", "correlate.min_r=0.1"});
  EXPECT_EQ(s.integer("sae.k"), 7);
  EXPECT_EQ(s.integer("sae.latents"), 128);
  EXPECT_EQ(s.text("study.name"), "a b");
  EXPECT_EQ(s.real("correlate.min_r"), 0.1);
  EXPECT_EQ(s.list("model.a.layers"), (std::vector<std::string>{"0", "3"}));
  EXPECT_EQ(s.list("model.b.layers"), (std::vector<std::string>{"all"}));
}

/// A key set to what it may not hold.
void expect_refused(const std::string& key, const std::string& value) {
  test::expect_error(ExitCode::config, key, [&] { study("", {key + "=" + value}); });
}

TEST(Study, RefusesWhatAKeyMayNotHold) {
  for (const auto& key : keys()) {
    const settings::Allowed* range = key.allowed.anything() ? nullptr : &key.allowed;
    const auto check_value = [&](const std::string& name, const Value& value, const char* where) {
      settings::check(name, value, key.allowed, where);
    };
    const bool whole = std::holds_alternative<Index>(key.value);
    const bool real = std::holds_alternative<double>(key.value);
    if (whole || real) {
      ASSERT_NE(range, nullptr) << key.name << " has no range";
      expect_refused(key.name, "nan");
      expect_refused(key.name, "\"1\"");
      if (range->low >= 0) expect_refused(key.name, whole ? "-1" : "-0.5");
      if (range->low > 0 || range->above_low) expect_refused(key.name, whole ? "0" : "0.0");
      if (whole) expect_refused(key.name, "1e5"); // a floating-point number
      if (whole && range->high <= 2147483647.0) {
        expect_refused(key.name, "2147483648");
        expect_refused(key.name, "4294967297");
      }
      if (real) expect_refused(key.name, range->high > 1e300 ? "inf" : "1e300");
      EXPECT_NO_THROW(check_value(key.name, key.value, "default"));
      if (whole && !range->above_low) {
        EXPECT_NO_THROW(check_value(key.name, static_cast<Index>(range->low), "x"));
      }
      if (whole) {
        EXPECT_NO_THROW(check_value(key.name, static_cast<Index>(range->high), "x"));
      }
    } else if (range != nullptr) {
      expect_refused(key.name, "nonesuch");
      for (const auto& word : range->words) EXPECT_NO_THROW(study("", {key.name + "=" + word})) << key.name << " " << word;
    }
    if (std::holds_alternative<std::string>(key.value)) expect_refused(key.name, "\"a\\nb\"");
  }
}

TEST(Study, RefusesKeysThatExcludeEachOther) {
  test::expect_error(ExitCode::config, "exclude each other", [] { study("[correlate]\nmatrix = true\nmatrix_coactive = true\n"); });
  test::expect_error(ExitCode::config, "sae.k = 64 must not be above sae.latents = 32", [] { study("[sae]\nlatents = 32\n"); });
  EXPECT_NO_THROW(study("[sae]\nlatents = 32\nkind = \"relu\"\n"));
}

TEST(Study, LeavesPathsToTheSystem) {
  const auto s = study("");
  EXPECT_TRUE(s.location("link/../a.txt").ends_with("link/../a.txt"));
}

TEST(Study, PaperChangesDefaultsAndNothingThatTheStudySays) {
  const auto s = study("[study]\npaper = true\n[compare]\npermutations = 7\n", {"correlate.min_r=0.3"});
  EXPECT_EQ(s.text("correlate.pairing"), "paper");
  EXPECT_EQ(s.integer("compare.svcca_k"), 1);
  EXPECT_EQ(s.integer("compare.permutations"), 7);
  EXPECT_EQ(s.real("correlate.min_r"), 0.3);
  EXPECT_EQ(study("").text("correlate.pairing"), "mutual");
  EXPECT_EQ(study(s.resolved()).resolved(), s.resolved());
}

TEST(Study, ResolvedStudyReadsBackTheSame) {
  const auto first = study("[corpus]\npaths = [\"a \\\"b\\\".txt\"]\n[sae]\nclip = 2\n");
  const auto second = study(first.resolved());
  EXPECT_EQ(first.resolved(), second.resolved());
}

TEST(Study, PathsCountFromItsFolder) {
  EXPECT_TRUE(study("[study]\noutput = \"runs\"\n").path("study.output").string().ends_with("scratch/study/runs"));
  EXPECT_EQ(study("[study]\noutput = \"/x/runs\"\n").path("study.output").string(), "/x/runs");
}

TEST(Study, ResolvedMeansTheSameElsewhere) {
  const auto s = study("[study]\nname = \"a \\\\ \\\"b\\\" \\u00E9\"\n[corpus]\npaths = [\"x\", \"/y\"]\n[model.a]\npath = \"m\"\n");
  const auto folder = test::empty_folder("study_elsewhere");
  write_text_atomic(folder / "resolved.toml", s.resolved());
  const Study elsewhere(folder / "resolved.toml", {});
  EXPECT_EQ(elsewhere.resolved(), s.resolved());
  EXPECT_EQ(elsewhere.text("study.name"), "a \\ \"b\" \xC3\xA9");
  EXPECT_EQ(elsewhere.path("model.a.path"), s.path("model.a.path"));
  EXPECT_EQ(elsewhere.location(elsewhere.list("corpus.paths")[0]), s.location("x"));
  EXPECT_EQ(elsewhere.list("corpus.paths")[1], "/y");
  EXPECT_EQ(elsewhere.text("model.b.path"), ""); // what is not set stays so
}

TEST(Study, NamesUnknownKeysAndTheNearestKnownOne) {
  expect_error(ExitCode::config, "unknown key sae.latnts; did you mean sae.latents?", [] { study("[sae]\nlatnts = 4\n"); });
  expect_error(ExitCode::config, "unknown key corelate.min_r; did you mean correlate.min_r?", [] { study("[corelate]\nmin_r = 4\n"); });
  expect_error(ExitCode::config, "did you mean sae.k?", [] { study("", {"sae.kk=4"}); });
}

TEST(Study, LettersBeyondAsciiStandInTextsAndCommentsAlone) {
  const auto read = [](const std::string& toml) { return Study(toml, "s.toml", "/folder", {}); };
  const std::string e = "\u00e9";
  EXPECT_EQ(read("# caf" + e + "\n[study]\nname = \"\\\"" + e + "\" # " + e + "\n").text("study.name"), "\"" + e);
  EXPECT_EQ(read("[study]\nname = '" + e + "\\'\n").text("study.name"), e + "\\");
  EXPECT_EQ(read("[study]\nname = \"\"\"a \"" + e + "\" b\"\"\"\n").text("study.name"), "a \"" + e + "\" b");
  EXPECT_EQ(read("\xEF\xBB\xBF[study]\nname = \"x\"\n").text("study.name"), "x");
  EXPECT_EQ(read("[study]\nname = \"\\u0100\u3042\U0001F600\\U0001F600\"").text("study.name"), "\u0100\u3042\U0001F600\U0001F600");
  for (const std::string letter : {"\u00e9", "\u00a0", "\u2e40", "\u3042", "\u0332", "\u044b", "\ufefe", "\uffff", "\xff"})
    for (const std::string& toml : {"[study]\nname =" + letter + "x\n", "[study]\n" + letter + " = 1\n", "[study]\nname = \"x\"" + letter,
                                    "[study]\nname = 1\"x" + letter + "\"", "[study]\nname = 1979-05-27 \"" + letter})
      expect_error(ExitCode::config, "line 2: ", [&] { read(toml); });
  expect_error(ExitCode::config, "saw '\u044b'", [&] { read("[study]\n\u044b = 1"); });
  expect_error(ExitCode::config, "unknown key study.\u044b", [&] { read("[study]\n\"\u044b\" = 1"); });
  for (const std::string letter : {"\U001000E9", "\\U001000E9"})
    expect_error(ExitCode::config, "line 2: letters of the plane", [&] { read("[study]\nname = \"" + letter + "\""); });
}

TEST(Study, ModelsHaveNamesAndPairs) {
  const auto old = study("[model.a]\npath = \"m\"\n");
  ASSERT_EQ(old.models().size(), 2U);
  ASSERT_EQ(old.pairs().size(), 1U);
  EXPECT_EQ(old.models()[1].folder, "b");
  EXPECT_EQ(old.models()[1].stream, 1U);
  EXPECT_EQ(old.pairs()[0].folder, "");

  const auto s =
      study("[model.small]\npath = \"s\"\nlayers = [2]\n[model.\"large-2.5\"]\npath = \"l\"\n[model.again]\nsame_as = \"small\"\n");
  const auto models = s.models();
  ASSERT_EQ(models.size(), 3U);
  EXPECT_EQ(models[0].name, "small"); // as they stand there
  EXPECT_EQ(models[1].folder, "models/large-2.5");
  EXPECT_TRUE(models[1].is_extracted());
  EXPECT_EQ(models[2].path, models[0].path);
  EXPECT_EQ(models[2].layers, std::vector<std::string>{"2"});
  EXPECT_EQ(models[2].extracted, "models/small");
  EXPECT_FALSE(models[2].is_extracted());
  EXPECT_NE(models[0].stream, models[2].stream);
  ASSERT_EQ(s.pairs().size(), 3U);
  EXPECT_EQ(s.pairs()[1].folder, "pairs/small_vs_again");
  EXPECT_EQ(s.pairs()[2].name, "large-2.5 vs again");
  EXPECT_EQ(Study(s.resolved(), "resolved", "/other", {}).resolved(), s.resolved());

  const auto one = study("[study]\npairs = [[\"again\", \"small\"]]\n[model.small]\npath = \"s\"\n[model.again]\npath = \"l\"\n",
                         {"model.third.path=t"});
  EXPECT_EQ(one.models().size(), 3U);
  ASSERT_EQ(one.pairs().size(), 1U);
  EXPECT_EQ(one.pairs()[0].folder, "pairs/again_vs_small");
}

TEST(Study, ModelsOfOneTokenizerShareTheirTokens) {
  const std::string three = "[corpus]\ntokenizer = \"t\"\n[model.x]\npath = \"x\"\n[model.y]\npath = \"y\"\n[model.z]\nsame_as = \"y\"\n";
  const auto one = study(three);
  EXPECT_FALSE(one.has_own_tokenizers());
  EXPECT_EQ(one.models()[1].tokens, "tokens.h5");
  EXPECT_EQ(one.models()[1].tokenizer.filename(), "t");
  EXPECT_FALSE(study(three, {"model.x.tokenizer=u", "model.y.tokenizer=u"}).has_own_tokenizers()); // in the place of the corpus'
  const auto two = study(three, {"model.y.tokenizer=u"});
  ASSERT_EQ(two.tokenized().size(), 2U);
  EXPECT_EQ(two.models()[0].tokens, "models/x/tokens.h5");
  EXPECT_EQ(two.models()[2].tokens, "models/y/tokens.h5"); // it has y's residual streams
  EXPECT_EQ(two.models()[2].tokenizer.filename(), "u");
  const auto shared = study(three, {"model.y.tokenizer=u", "model.w.path=w"}); // x and w share one
  ASSERT_EQ(shared.tokenized().size(), 2U);
  EXPECT_EQ(shared.models()[3].tokens, "models/x/tokens.h5");
  EXPECT_EQ(study("[model.a]\npath = \"m\"\ntokenizer = \"t\"\n[model.b]\npath = \"n\"\ntokenizer = \"u\"\n").models()[1].tokens,
            "b/tokens.h5");
}

TEST(Study, RefusesWhatWantsOneTokenizer) {
  const std::string two = "[model.x]\npath = \"s\"\ntokenizer = \"t\"\n[model.y]\npath = \"l\"\ntokenizer = \"u\"\n";
  study(two);
  expect_error(ExitCode::config, "corpus.token_ids are of one", [&] { study(two, {"corpus.token_ids=ids.npy"}); });
  expect_error(ExitCode::config, "sae.crosscoders are of models", [&] { study(two, {"sae.crosscoders=[\"1:2\"]"}); });
  expect_error(ExitCode::config, "subspaces are compared on words of the same tokens", [&] { study(two, {"subspaces.concepts=c.tsv"}); });
  expect_error(ExitCode::config, "model.z has no tokenizer", [&] { study(two, {"model.z.path=z"}); });
  expect_error(ExitCode::config, "its tokenizer is that of x", [&] { study(two, {"model.z.same_as=x", "model.z.tokenizer=v"}); });
}

TEST(Study, RefusesModelsAndPairsThatCannotBe) {
  const std::string two = "[model.x]\npath = \"s\"\n[model.y]\npath = \"l\"\n";
  expect_error(ExitCode::config, "study.pairs names a model \"z\"; the models are x, y", [&] { study(two, {"study.pairs=[\"x:z\"]"}); });
  expect_error(ExitCode::config, "are one model", [&] { study(two, {"study.pairs=[\"x:x\"]"}); });
  expect_error(ExitCode::config, "stand there twice", [&] { study(two, {"study.pairs=[\"x:y\", \"y:x\"]"}); });
  expect_error(ExitCode::config, "study.pairs holds \"x\"", [&] { study(two, {"study.pairs=x"}); });
  expect_error(ExitCode::config, "study.pairs holds \"all\"", [&] { study(two, {"study.pairs=[\"all\", \"x:y\"]"}); });
  expect_error(ExitCode::config, "study.pairs is empty", [&] { study(two, {"study.pairs=[]"}); });
  expect_error(ExitCode::config, "unknown key model.x.y.path", [&] { study("[model.x]\npath = \"s\"\n[model.x.y]\npath = \"l\"\n"); });
  expect_error(ExitCode::config, "model.A has neither path nor same_as", [&] { study("", {"model.A.layers=[1]"}); });
  expect_error(ExitCode::config, "the skyline is a model of its own now", [&] { study(two, {"skyline.layers=[1]"}); });
  expect_error(ExitCode::config, "subspaces.pairs names y and x, which study.pairs does not", [&] { study(two, {"subspaces.pairs=y:x"}); });
  expect_error(ExitCode::config, "names no other model", [&] { study(two, {"model.z.same_as=w"}); });
  expect_error(ExitCode::config, "names no other model", [&] { study(two, {"model.x.same_as=x"}); });
  expect_error(ExitCode::config, "has path and same_as", [&] { study(two, {"model.x.same_as=y"}); });
  expect_error(ExitCode::config, "which has same_as itself", [&] { study(two, {"model.z.same_as=x", "model.w.same_as=z"}); });
  expect_error(ExitCode::config, "cannot be the name of a model", [&] { study("[model.\"../x\"]\npath = \"s\"\n"); });
  expect_error(ExitCode::config, "unknown key model.x.pth; did you mean model.x.path?", [&] { study("[model.x]\npth = \"s\"\n"); });
  expect_error(ExitCode::config, "unknown key model.path", [&] { study("[model]\npath = \"s\"\n"); });
}

TEST(Study, RefusesWrongTypesAndSyntax) {
  expect_error(ExitCode::config, "sae.k must be an integer", [] { study("[sae]\nk = \"many\"\n"); });
  expect_error(ExitCode::config, "extract.loss must be true or false", [] { study("[extract]\nloss = 1\n"); });
  expect_error(ExitCode::config, "line 2", [] { study("[sae]\nk = = 3\n"); });
  expect_error(ExitCode::usage, "table.key=value", [] { study("", {"sae.k"}); });
  expect_error(ExitCode::input_missing, "cannot open the study", [] { Study("none.toml", {}); });
}

/// Where the schema has a key.
nlohmann::json schema_of(const nlohmann::json& schema, const std::string& key) {
  nlohmann::json at = schema;
  std::size_t begin = 0;
  for (std::size_t dot = key.find('.'); dot != std::string::npos; dot = key.find('.', begin)) {
    const std::string name = key.substr(begin, dot - begin);
    at = name == "NAME" ? at["patternProperties"].front() : at["properties"][name];
    begin = dot + 1;
  }
  return at["properties"][key.substr(begin)];
}

TEST(Study, SchemaKnowsEveryKeyItsKindAndItsRange) {
  const auto schema = nlohmann::json::parse(keys_as_json_schema());
  EXPECT_EQ(schema["properties"]["model"]["patternProperties"].front()["additionalProperties"], false);
  for (const auto& key : keys()) {
    const auto at = schema_of(schema, key.name);
    ASSERT_FALSE(at.is_null()) << key.name;
    std::visit([&](const auto& value) { EXPECT_EQ(at["default"], nlohmann::json(value)) << key.name; }, key.value);
    if (std::holds_alternative<Index>(key.value)) {
      EXPECT_EQ(at["type"], "integer");
    }
    if (std::holds_alternative<std::string>(key.value) && !key.allowed.words.empty()) {
      EXPECT_EQ(at["enum"], nlohmann::json(key.allowed.words));
    }
    if (!key.allowed.anything() && key.allowed.words.empty()) {
      EXPECT_EQ(at[key.allowed.above_low ? "exclusiveMinimum" : "minimum"], key.allowed.low) << key.name;
    }
  }
}

} // namespace
} // namespace concord::study
