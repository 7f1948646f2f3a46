#include "workflow/task.h"

#include <algorithm>

#include "tests/test_util.h"
#include "workflow/task_template.h"

namespace gptq {
namespace task_test {

std::vector<TaskExample> Examples(const std::string& task, const std::string& lines) {
  return MakeExamples(FindTask(task), ParseJsonRows(lines, "data.jsonl"), "data.jsonl");
}

TaskExample One(const std::string& task, std::string row) {
  std::replace(row.begin(), row.end(), '\n', ' ');
  return Examples(task, row).at(0);
}

std::vector<std::string> Continuations(const TaskExample& example) {
  std::vector<std::string> texts;
  for (const TaskText& text : example.choices) texts.push_back(text.continuation);
  return texts;
}

TEST(Task, ArcInItsThreeForms) {
  for (
      const char* row :
      {R"({"question": {"stem": "Why?", "choices": [{"text": "no", "label": "A"}, {"text": "so", "label": "B"}]}, "answerKey": "B"})",
       R"({"question": "Why?", "choices": {"text": ["no", "so"], "label": ["1", "2"]}, "answerKey": "2"})",
       R"({"id": "7", "query": "Question: Why?\nAnswer:", "choices": ["no", "so"], "label": 1})"}) {
    const TaskExample example = One("arc_easy", row);
    EXPECT_EQ(example.choices[0].context, "Question: Why?\nAnswer:");
    EXPECT_EQ(Continuations(example), (std::vector<std::string>{" no", " so"}));
    EXPECT_EQ(example.answer, 1);
    EXPECT_EQ(example.lengths, (std::vector<int64_t>{2, 2}));
  }
}

TEST(Task, LambadaPredictsTheLastWord) {
  const TaskExample example = One("lambada", R"({"text": "He said \"no\"\nand left"})");
  ASSERT_EQ(example.choices.size(), 1u);
  EXPECT_EQ(example.choices[0].context, "He said \"no\"\nand");
  EXPECT_EQ(example.choices[0].continuation, " left");
}

TEST(Task, WinograndeScoresWhatFollowsTheBlank) {
  for (const char* row :
       {R"({"sentence": "Ann met Bea so _ was glad.", "option1": "Ann", "option2": "Bea", "answer": "2"})",
        R"({"query": "Ann met Bea so _ was glad.", "choices": ["Ann", "Bea"], "label": 1})"}) {
    const TaskExample example = One("winogrande", row);
    EXPECT_EQ(example.choices[0].context, "Ann met Bea so Ann");
    EXPECT_EQ(example.choices[1].context, "Ann met Bea so Bea");
    EXPECT_EQ(Continuations(example), (std::vector<std::string>{" was glad.", " was glad."}));
    EXPECT_EQ(example.answer, 1);
  }
}

TEST(Task, HellaSwagIsCleaned) {
  const TaskExample example = One("hellaswag", R"({"activity_label": "Cats", "ctx_a": "How to [header] pet.",
      "ctx_b": "the CAT", "endings": [" [step] runs  off. ", "sits [title] Well"], "label": "1"})");
  EXPECT_EQ(example.choices[0].context, "Cats: How to pet. The cat");
  EXPECT_EQ(Continuations(example), (std::vector<std::string>{"  runs off.", " sits. Well"}));
  EXPECT_EQ(example.answer, 1);
}

TEST(Task, OthersAsTheHarnessDoes) {
  TaskExample example = One("piqa", R"({"goal": "dresser", "sol1": "a", "sol2": "b", "label": 0})");
  EXPECT_EQ(example.choices[1].context, "Question: dresser\nAnswer:");
  example = One("copa", R"({"premise": "It rained. ", "choice1": "The road was wet.", "choice2": "I sang.",
      "question": "effect", "label": 0})");
  EXPECT_EQ(example.choices[0].context, "It rained therefore");
  EXPECT_EQ(Continuations(example), (std::vector<std::string>{"  the road was wet.", "  i sang."}));
  example = One("sciq", R"({"support": " S.", "question": "Q?", "distractor1": "a", "distractor2": "b",
      "distractor3": "c", "correct_answer": "d"})");
  EXPECT_EQ(example.choices[0].context, "S.\nQuestion: Q?\nAnswer:");
  EXPECT_EQ(example.answer, 3);
  EXPECT_EQ(Continuations(example), (std::vector<std::string>{" a", " b", " c", " d"}));
  example = One("storycloze", R"({"InputSentence1": "A.", "InputSentence2": "B.", "InputSentence3": "C.",
      "InputSentence4": "D.", "RandomFifthSentenceQuiz1": "E.", "RandomFifthSentenceQuiz2": "F.",
      "AnswerRightEnding": "1"})");
  EXPECT_EQ(example.choices[0].context, "A. B. C. D.");
  EXPECT_EQ(example.answer, 0);
  example =
      One("openbookqa", R"({"question_stem": "Q", "choices": {"text": ["\u00fcb", "y"], "label": ["A", "B"]},
      "answerKey": "A"})");
  EXPECT_EQ(example.choices[0].context, "Q");
  EXPECT_EQ(example.lengths, (std::vector<int64_t>{2, 1})) << "characters, not bytes";
  example = One("choices", R"({"context": "1 + 1 =", "choices": ["2", "3", "4"], "answer": 0})");
  EXPECT_EQ(example.choices.size(), 3u);
}

TEST(Task, RowsMayHaveDifferentNumbersOfChoices) {
  const auto examples = Examples("choices",
                                 "{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 0}\n\n"
                                 "{\"context\": \"a\", \"choices\": [\"b\", \"c\", \"d\"], \"answer\": 2}\n");
  EXPECT_EQ(examples[1].choices.size(), 3u);
  EXPECT_EQ(examples[1].line, 3);
}

TEST(Task, BadRowsAreNamedByTheirLine) {
  const std::string good = "{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 0}\n";
  const auto bad = [&](const std::string& line) { return Examples("choices", good + line); };
  EXPECT_ERROR(bad("{\"context\": "), "data.jsonl line 2");
  EXPECT_ERROR(bad("[1]"), "data.jsonl line 2");
  EXPECT_ERROR(bad("{\"context\": \"a\", \"choices\": [\"b\", \"c\"]}"), "line 2");
  EXPECT_ERROR(bad("{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 2}"),
               "answer \"2\" is not one of the 2 choices, data.jsonl line 2");
  EXPECT_ERROR(bad("{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": -1}"), "line 2");
  EXPECT_ERROR(bad("{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": \"x\"}"), "line 2");
  EXPECT_ERROR(bad("{\"context\": \"a\", \"choices\": [\"b\"], \"answer\": 0}"), "1 choices");
  EXPECT_ERROR(bad("{\"context\": \"a\", \"choices\": [\"b\", \"\"], \"answer\": 0}"), "empty choice");
  EXPECT_ERROR(bad("{\"context\": \"a\", \"choices\": [\"b\", 3], \"answer\": 0}"), "not a text");
  EXPECT_ERROR(bad("{\"other\": 1}"), "context choices answer");
  EXPECT_ERROR(One("winogrande", R"({"query": "no blank", "choices": ["a", "b"], "label": 0})"), "blank");
  EXPECT_ERROR(One("winogrande", R"({"query": "ends _", "choices": ["a", "b"], "label": 0})"), "blank");
  EXPECT_ERROR(One("lambada", R"({"text": "word"})"), "last word");
  EXPECT_ERROR(
      One("arc_easy",
          R"({"question": "Q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "C"})"),
      "answer \"C\"");
}

TEST(Task, UnknownNamesAndMalformedDescriptions) {
  EXPECT_THROW(FindTask("nonsense"), UsageError);
  TemporaryFolder folder;
  const auto file = folder.path() / "tasks.json";
  const auto describe = [&](const std::string& text) {
    std::FILE* out = std::fopen(file.c_str(), "w");
    std::fputs(text.c_str(), out);
    std::fclose(out);
    return FindTask("mine", file);
  };
  EXPECT_EQ(describe(R"({"mine": {"metrics": ["accuracy"], "rows": [{"last_word": "{text}"}]}})").name,
            "mine");
  EXPECT_ERROR(describe("[]"), "tasks.json");
  EXPECT_ERROR(describe(R"({"mine": {"rows": []}})"), "mine");
  EXPECT_ERROR(describe(R"({"mine": {"metrics": ["speed"], "rows": []}})"), "speed");
  EXPECT_ERROR(describe(R"({"mine": {"metrics": [], "rows": [{}]}})"), "context, blank, last_word");
  EXPECT_ERROR(describe(R"({"mine": {"metrics": [], "rows": [{"context": "a"}]}})"), "choices");
}

TEST(DataRows, ATableMayHoldQuotesAndLineEnds) {
  const auto rows = ParseTableRows("\xEF\xBB\xBFname,text\r\na,\"x, \"\"y\"\"\nz\"\r\nb,\nc,\"\"\n", "t.csv");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].fields.at("text"), "x, \"y\"\nz");
  EXPECT_EQ(rows[1].fields.at("name"), "b");
  EXPECT_EQ(rows[1].fields.at("text"), "");
  EXPECT_EQ(rows[1].line, 4);
  EXPECT_ERROR(ParseTableRows("a,b\n1,2\n1\n", "t.csv"), "t.csv line 3");
  EXPECT_ERROR(ParseTableRows("a\n\"1", "t.csv"), "t.csv line 2");
  EXPECT_ERROR(ParseTableRows("a\n\"1\"x\n", "t.csv"), "t.csv line 2");
  EXPECT_TRUE(ParseTableRows("", "t.csv").empty());
}

TEST(DataRows, ArraysAndLines) {
  EXPECT_EQ(ParseJsonRows("[{\"a\": 1}, {\"a\": 2}]", "f").size(), 2u);
  EXPECT_EQ(ParseJsonRows("{\"a\": 1}\r\n{\"a\": 2}", "f").size(), 2u);
  EXPECT_TRUE(ParseJsonRows(" \n", "f").empty());
  EXPECT_ERROR(ParseJsonRows("[1]", "f"), "f line 1");
}

TEST(TaskTemplate, FieldsAndFilters) {
  const Json row{{"a", {{"b", " X y "}}}, {"n", 3}, {"list", {{{"t", "p"}}, {{"t", "q"}}}}};
  EXPECT_EQ(FillTemplate("[{a.b|strip|lower_first}] {n}", row), "[x y] 3");
  EXPECT_EQ(FillTemplate("{missing}", row), std::nullopt);
  EXPECT_EQ(FieldAt(row, "list.*.t"), Json({"p", "q"}));
  EXPECT_EQ(FieldAt(row, "list.*.u"), std::nullopt);
  EXPECT_EQ(ApplyFilter("capitalize", "\xC3\xA9T\xC3\x89"), "\xC3\xA9t\xC3\xA9");
  EXPECT_ERROR(ApplyFilter("nonsense", ""), "nonsense");
}

}  // namespace task_test
}  // namespace gptq
