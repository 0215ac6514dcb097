// Conversations against what transformers' engine made of them, and where a directory keeps its
// template.
#include "tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace qround {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

fs::path pocket() { return fs::path(QROUND_SOURCE_DIR) / "models/pocket"; }

Json user(std::string_view content) {
  return Json::object({{"role", "user"}, {"content", content}});
}

Json hello() { return Json::array({user("Hi")}); }

// The recorded calls hold the template's variables; what is not an argument of its own is a
// variable.
ChatTemplateInput input_of(const Json& call) {
  ChatTemplateInput input;
  input.variables = Json::object();
  for (const auto& [name, value] : call.as_object()) {
    if (name == "tools") {
      input.tools = value;
    } else if (name == "add_generation_prompt") {
      input.add_generation_prompt = value.as_bool();
    } else if (name != "messages") {
      input.variables.set(name, value);
    }
  }
  return input;
}

std::string failure_message(const ChatTemplate& chat, const Json& messages,
                            const ChatTemplateInput& input = {}) {
  try {
    chat.render(messages, input);
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

// A model directory that lives as long as the test.
class ChatTemplateDirectory : public testing::Test {
 protected:
  ChatTemplateDirectory() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(testing::TempDir()) / (std::string("qround_chat_template_") + test->name());
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~ChatTemplateDirectory() override { fs::remove_all(path_); }

  void write(const std::string& name, std::string_view text) {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  std::string render(std::string_view name = {}, const ChatTemplateInput& input = {}) {
    return ChatTemplate::load(path_, name).render(hello(), input);
  }

  fs::path path_;
};

TEST(ChatTemplate, RendersEveryConversationAsRecorded) {
  const Json rows =
      Json::parse_file(fs::path(QROUND_SOURCE_DIR) / "tests/data/templates/chat_template.json");
  EXPECT_EQ(rows.as_array().size(), 39u);
  const ChatTemplate chat = ChatTemplate::load(pocket());
  for (const Json& row : rows.as_array()) {
    const Json& call = row.at("input");
    SCOPED_TRACE(call.dump());
    if (const Json* text = row.find("text")) {
      EXPECT_EQ(chat.render(call.at("messages"), input_of(call)), text->as_string());
    } else {
      EXPECT_THAT(failure_message(chat, call.at("messages"), input_of(call)),
                  HasSubstr(row.at("error").as_string()));
    }
  }
}

TEST(ChatTemplate, WhatTheTemplateRefusesNamesFileAndLine) {
  const ChatTemplate chat = ChatTemplate::load(pocket());
  try {
    chat.render(Json::array());
    FAIL() << "an empty conversation must be refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "The conversation is empty.");
    EXPECT_THAT(error.file(), HasSubstr("chat_template.jinja:21"));
  }
}

TEST(ChatTemplate, EmptyToolsAreNone) {
  const ChatTemplate chat = ChatTemplate::from_source(
      "{{ tools is none }}{{ documents is none }}{{ tools is defined }}", "t");
  ChatTemplateInput input;
  EXPECT_EQ(chat.render(hello(), input), "TrueTrueTrue");
  input.tools = Json::array();
  EXPECT_EQ(chat.render(hello(), input), "TrueTrueTrue");
  input.tools = Json::array({Json::object({{"type", "function"}})});
  input.documents = Json::array({Json::object({{"title", "T"}})});
  EXPECT_EQ(chat.render(hello(), input), "FalseFalseTrue");
}

TEST(ChatTemplate, VariablesWinOverSpecialTokensButNotOverArguments) {
  const ChatTemplate chat = ChatTemplate::from_source(
      "{{ bos_token }}{{ eos_token }}{{ x }}{{ messages | length }}{{ add_generation_prompt }}",
      "t", Json::object({{"bos_token", "<s>"}, {"eos_token", "</s>"}}));
  ChatTemplateInput input;
  input.variables = Json::object({{"bos_token", "<B>"}, {"x", 7}, {"messages", "no"}});
  EXPECT_EQ(chat.render(hello(), input), "<B></s>71False");
}

TEST(ChatTemplate, MembersThatAreNullAreDroppedFromMessages) {
  const ChatTemplate chat = ChatTemplate::from_source("{{ messages | tojson }}", "t");
  const Json messages =
      Json::parse(R"([{"role": "assistant", "content": null, "tool_calls": [{"x": null}]}])");
  EXPECT_EQ(chat.render(messages), R"([{"role": "assistant", "tool_calls": [{"x": null}]}])");
}

TEST(ChatTemplate, ReasoningIsOfferedUnderItsOlderNames) {
  const ChatTemplate chat = ChatTemplate::from_source("{{ messages | tojson }}", "t");
  EXPECT_EQ(
      chat.render(Json::parse(R"([{"role": "assistant", "reasoning": "R", "content": "C"}])")),
      R"([{"thinking": "R", "role": "assistant", "reasoning": "R", "content": "C", "reasoning_content": "R"}])");
  EXPECT_EQ(chat.render(Json::parse(
                R"([{"role": "assistant", "thinking": "T", "reasoning_content": "R"}])")),
            R"([{"thinking": "T", "role": "assistant", "reasoning_content": "R"}])");
}

TEST(ChatTemplate, TheClockIsTheLocalTimeUnlessGiven) {
  const ChatTemplate chat = ChatTemplate::from_source("{{ strftime_now('%Y') }}", "t");
  EXPECT_GE(chat.render(hello()), "2025");
  ChatTemplateInput input;
  input.jinja.clock = [] {
    std::tm time{};
    time.tm_year = 99;
    time.tm_mday = 1;
    return time;
  };
  EXPECT_EQ(chat.render(hello(), input), "1999");
}

TEST(ChatTemplate, RefusesInputThatIsNoConversation) {
  const ChatTemplate chat = ChatTemplate::from_source("x", "t");
  EXPECT_THAT(failure_message(chat, Json::object()), HasSubstr("messages is not an array"));
  EXPECT_THAT(failure_message(chat, Json::array({"text"})), HasSubstr("message is not an object"));
  ChatTemplateInput input;
  input.tools = Json::array({"name"});
  EXPECT_THAT(failure_message(chat, hello(), input), HasSubstr("tools"));
  input = {};
  input.documents = Json::array({1});
  EXPECT_THAT(failure_message(chat, hello(), input), HasSubstr("documents"));
  input = {};
  input.add_generation_prompt = true;
  input.continue_final_message = true;
  EXPECT_NE(failure_message(chat, hello(), input), "no error");
}

TEST(ChatTemplate, AMessageIsContinuedWhereItsTextEnds) {
  const char* source =
      "{% for m in messages %}<{{ m.role }}>{{ m.content if m.content is string else "
      "m.content[0].text }}<end>{% endfor %}";
  const ChatTemplate chat = ChatTemplate::from_source(source, "t");
  ChatTemplateInput input;
  input.continue_final_message = true;
  const Json partial = Json::parse(
      R"([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "It is "}])");
  EXPECT_EQ(chat.render(partial, input), "<user>Q<end><assistant>It is ");
  const Json parts =
      Json::parse(R"([{"role": "assistant", "content": [{"type": "text", "text": "It"}]}])");
  EXPECT_EQ(chat.render(parts, input), "<assistant>It");
  const ChatTemplate trimming =
      ChatTemplate::from_source("{{ messages[-1].content | trim }}<end>", "t");
  EXPECT_EQ(trimming.render(partial, input), "It is");
  const ChatTemplate dropping = ChatTemplate::from_source("nothing", "t");
  EXPECT_THAT(failure_message(dropping, partial, input), HasSubstr("cannot be continued"));
  EXPECT_THAT(failure_message(chat, Json::array(), input), HasSubstr("no message to continue"));
}

TEST_F(ChatTemplateDirectory, WithoutATemplateThereIsNone) {
  write("tokenizer_config.json", R"({"eos_token": "x"})");
  EXPECT_FALSE(ChatTemplate::find(path_).has_value());
  EXPECT_THROW(ChatTemplate::load(path_), Error);
}

TEST_F(ChatTemplateDirectory, TheFileWinsOverTheConfiguration) {
  write("tokenizer_config.json",
        R"({"chat_template": "config {{ bos_token }}", "bos_token": "<s>"})");
  EXPECT_EQ(render(), "config <s>");
  write("chat_template.jinja", "file {{ bos_token }}");
  EXPECT_EQ(render(), "file <s>");
}

TEST_F(ChatTemplateDirectory, OneOfSeveralIsChosenByNameOrByTools) {
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"},
            {"name": "rag", "template": "R"}]})");
  ChatTemplateInput with_tools;
  with_tools.tools = Json::array({Json::object()});
  EXPECT_EQ(render(), "D");
  EXPECT_EQ(render("", with_tools), "T");
  EXPECT_EQ(render("rag"), "R");
  EXPECT_EQ(render("rag", with_tools), "R");
  try {
    render("nope");
    FAIL() << "an unknown name must be refused";
  } catch (const Error& error) {
    EXPECT_THAT(error.hint(), HasSubstr("default, tool_use, rag"));
  }
}

TEST_F(ChatTemplateDirectory, AdditionalFilesHaveNames) {
  write("chat_template.jinja", "D");
  write("additional_chat_templates/tool_use.jinja", "T");
  write("additional_chat_templates/notes.txt", "{{ not a template");
  ChatTemplateInput with_tools;
  with_tools.tools = Json::array({Json::object()});
  EXPECT_EQ(render(), "D");
  EXPECT_EQ(render("", with_tools), "T");
  EXPECT_EQ(render("tool_use"), "T");
}

TEST_F(ChatTemplateDirectory, SeveralWithoutADefaultNeedAName) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "a", "template": "A"}]})");
  EXPECT_THROW(render(), Error);
  EXPECT_EQ(render("a"), "A");
}

TEST_F(ChatTemplateDirectory, ProcessorsKeepTheirTemplateInAFileOfTheirOwn) {
  write("chat_template.json", R"({"chat_template": "P"})");
  EXPECT_EQ(render(), "P");
}

TEST_F(ChatTemplateDirectory, SpecialTokensAreReadInEveryFormTheyAreWritten) {
  write("chat_template.jinja",
        "{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}|{{ image_token }}|{{ boi_token "
        "}}|{{ add_bos_token is defined }}");
  write(
      "tokenizer_config.json",
      R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null, "add_bos_token": true,
            "image_token": "<image>", "extra_special_tokens": {"boi_token": "<boi>"}})");
  EXPECT_EQ(render(), "<s>|</s>|False|<image>|<boi>|False");
}

TEST_F(ChatTemplateDirectory, OlderDirectoriesKeepTheirTokensInAMap) {
  write("chat_template.jinja", "{{ bos_token }}{{ eos_token }}");
  write("tokenizer_config.json", R"({"bos_token": "<old>"})");
  write("special_tokens_map.json", R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>"})");
  EXPECT_EQ(render(), "<s></s>");
  write("tokenizer_config.json", R"({"bos_token": "<new>", "added_tokens_decoder": {}})");
  EXPECT_EQ(render(), "<new>");
}

TEST_F(ChatTemplateDirectory, ABrokenTemplateNamesItsFile) {
  write("chat_template.jinja", "fine\n{% if %}");
  try {
    ChatTemplate::load(path_);
    FAIL() << "the template must be refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.file(), (path_ / "chat_template.jinja").string() + ":2");
    EXPECT_EQ(error.message(), "Expected an expression, got 'end of statement block'");
  }
  write("chat_template.jinja", "");
  EXPECT_EQ(render(), "");
}

TEST_F(ChatTemplateDirectory, AChatTemplateOfAnotherShapeIsRefused) {
  write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_THROW(ChatTemplate::find(path_), Error);
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
  EXPECT_THROW(ChatTemplate::find(path_), Error);
  write("tokenizer_config.json", R"({"chat_template": null})");
  EXPECT_FALSE(ChatTemplate::find(path_).has_value());
}

TEST_F(ChatTemplateDirectory, AFileOfItsOwnTakesTheTokensOfTheDirectory) {
  write("other.jinja", "[{{ eos_token }}]");
  write("tokenizer_config.json", R"({"eos_token": "</s>"})");
  EXPECT_EQ(ChatTemplate::from_file(path_ / "other.jinja").render(hello()), "[]");
  EXPECT_EQ(ChatTemplate::from_file(path_ / "other.jinja", path_).render(hello()), "[</s>]");
  EXPECT_THROW(ChatTemplate::from_file(path_ / "absent.jinja"), Error);
}

}  // namespace
}  // namespace qround
