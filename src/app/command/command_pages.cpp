#include "app/command/command_pages.hpp"

#include "concord/core/run/provenance.hpp"
#include "concord/core/text.hpp"
#include "concord/study/study.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace concord::app {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
}

/// "--out", "-h".
std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const auto* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) flags.push_back("--" + name);
    for (const auto& name : option->get_snames()) flags.push_back("-" + name);
  }
  return flags;
}

/// "sae.kind=topk" of a choice, "sae.k=" of others.
std::vector<std::string> assignments() {
  std::vector<std::string> all;
  for (const auto& key : study::keys()) {
    if (key.allowed.words.empty()) all.push_back(key.name + "=");
    for (const auto& word : key.allowed.words) all.push_back(key.name + "=" + word);
  }
  return all;
}

/// Text as roff shows it.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else {
      if (c == '-') out += '\\';
      out += c;
    }
  }
  return out.starts_with('.') || out.starts_with('\'') ? "\\&" + out : out;
}

std::string section_of(const CLI::App& command) {
  std::string text = fmt::format(".SS {}\n{}\n", escaped(command.get_name()), escaped(command.get_description()));
  for (const auto* option : command.get_options()) {
    std::string argument = option->get_items_expected_max() == 0 || option->get_positional() ? "" : " VALUE";
    std::string help = option->get_description();
    if (!option->get_default_str().empty() && !argument.empty()) help += " [" + option->get_default_str() + "]";
    text += fmt::format(".TP\n\\fB{}\\fR{}\n{}\n", escaped(option->get_name(true, true)), argument, escaped(help));
  }
  return text;
}

} // namespace

std::string bash_completion(const CLI::App& app) {
  std::vector<std::string> names;
  std::string cases;
  for (const auto* command : commands_of(app)) {
    names.push_back(command->get_name());
    cases += fmt::format("    {}) words=\"{}\" ;;\n", command->get_name(), join(flags_of(*command), " "));
  }
  return fmt::format("# Completion of concord for bash: . <(concord completion)\n"
                     "_concord() {{\n"
                     "  local word=\"${{COMP_WORDS[COMP_CWORD]}}\" words\n"
                     "  if [[ ${{COMP_CWORD}} -eq 1 ]]; then\n"
                     "    mapfile -t COMPREPLY < <(compgen -W \"{} --help --version\" -- \"$word\")\n"
                     "    return\n"
                     "  fi\n"
                     "  case \"${{COMP_WORDS[1]}}\" in\n"
                     "{}"
                     "  esac\n"
                     "  [[ \"${{COMP_WORDS[COMP_CWORD - 1]}}\" == --set ]] && words=\"{}\"\n"
                     "  [[ -n \"$word\" && \"$word\" != -* && \"${{COMP_WORDS[COMP_CWORD - 1]}}\" != --set ]] && return\n"
                     "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
                     "  [[ ${{#COMPREPLY[@]}} -eq 1 && \"${{COMPREPLY[0]}}\" == *= ]] && compopt -o nospace\n"
                     "}}\n"
                     "COMP_WORDBREAKS=\"${{COMP_WORDBREAKS//=/}}\"\n"
                     "complete -o default -F _concord concord\n",
                     join(names, " "), cases, join(assignments(), " "));
}

std::string man_page(const CLI::App& app) {
  std::string text =
      fmt::format(".TH CONCORD 1 \"\" \"concord {}\" \"User commands\"\n"
                  ".SH NAME\nconcord \\- {}\n"
                  ".SH SYNOPSIS\n\\fBmpirun \\-np\\fR N \\fBconcord\\fR COMMAND STUDY.toml [FLAGS]\n.br\n\\fBconcord\\fR COMMAND [FLAGS]\n"
                  ".SH COMMANDS\n",
                  escaped(version()), escaped(app.get_description()));
  for (const auto* command : commands_of(app)) text += section_of(*command);
  text += ".SH STUDY\nA study is one TOML file of tables.\n";
  for (const auto& key : study::keys()) text += fmt::format(".TP\n\\fB{}\\fR\n{}\n", escaped(key.name), escaped(key.help_with_words()));
  text +=
      ".SH EXIT STATUS\n0 done; 64 wrong flags; 65 bad data; 66 no such input; 69 out of memory or of GPUs; 70 a fault of the program; "
      "71 ranks that give no sign of life; 74 files that cannot be read or written; 75 stopped, run again to go on; 78 a study that cannot "
      "be.\n";
  return text;
}

} // namespace concord::app
