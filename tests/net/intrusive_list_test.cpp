// SPDX-License-Identifier: BSD-3-Clause
//
// intrusive_list_test.cpp: the list whose elements hold its links.
#include <squall/net/intrusive_list.hpp>

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace squall {

namespace {

struct Element : IntrusiveNode<Element> {
  explicit Element(char given) : name{given} {}
  char name;
};

using List = IntrusiveList<Element>;

std::string drain(List& list) {
  std::string names;
  while (const Element* element = list.pop_front())
    names += element->name;
  return names;
}

TEST(IntrusiveList, GivesElementsInTheOrderOfTheirArrival) {
  Element a{'a'}, b{'b'}, c{'c'};
  List list;
  EXPECT_TRUE(list.empty());
  list.push_back_if_unlinked(a);
  list.push_back_if_unlinked(b);
  list.push_back_if_unlinked(c);
  EXPECT_FALSE(list.empty());
  EXPECT_EQ(drain(list), "abc");
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.pop_front(), nullptr);
}

TEST(IntrusiveList, LeavesAnElementThatIsInAListWhereItIs) {
  Element a{'a'}, b{'b'};
  List list;
  List other;
  list.push_back_if_unlinked(a);
  list.push_back_if_unlinked(b);
  list.push_back_if_unlinked(a);
  other.push_back_if_unlinked(a);
  EXPECT_TRUE(other.empty());
  EXPECT_EQ(drain(list), "ab");
}

TEST(IntrusiveList, TakesAPoppedElementAgain) {
  Element a{'a'};
  List list;
  list.push_back_if_unlinked(a);
  EXPECT_TRUE(a.linked());
  list.pop_front();
  EXPECT_FALSE(a.linked());
  list.push_back_if_unlinked(a);
  EXPECT_EQ(drain(list), "a");
}

TEST(IntrusiveList, LosesElementsThatUnlinkThemselves) {
  Element a{'a'}, b{'b'}, c{'c'};
  List list;
  for (Element* element : {&a, &b, &c})
    list.push_back_if_unlinked(*element);
  b.unlink();
  b.unlink(); // harmless
  EXPECT_FALSE(b.linked());
  EXPECT_EQ(drain(list), "ac");
}

TEST(IntrusiveList, LosesElementsThatAreDestroyed) {
  Element a{'a'}, c{'c'};
  std::optional<Element> b{'b'};
  List list;
  list.push_back_if_unlinked(a);
  list.push_back_if_unlinked(*b);
  list.push_back_if_unlinked(c);
  b.reset();
  EXPECT_EQ(drain(list), "ac");
}

TEST(IntrusiveList, AppendsAnotherListAndEmptiesIt) {
  Element a{'a'}, b{'b'}, c{'c'}, d{'d'};
  List list;
  List other;
  list.append(other); // nothing to nothing
  EXPECT_TRUE(list.empty());
  other.push_back_if_unlinked(a);
  other.push_back_if_unlinked(b);
  list.append(other); // something to nothing
  EXPECT_TRUE(other.empty());
  list.append(other); // nothing to something
  other.push_back_if_unlinked(c);
  other.push_back_if_unlinked(d);
  list.append(other);
  c.unlink();
  EXPECT_EQ(drain(list), "abd");
  EXPECT_TRUE(other.empty());
}

TEST(IntrusiveList, FreesItsElementsWhenItGoes) {
  Element a{'a'};
  {
    List list;
    list.push_back_if_unlinked(a);
  }
  EXPECT_FALSE(a.linked());
  List list;
  list.push_back_if_unlinked(a);
  EXPECT_EQ(drain(list), "a");
}

} // namespace

} // namespace squall
