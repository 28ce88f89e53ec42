# The layout checks, run as tests (label "layout"; the sanitizer builds leave them out). Each comes with a self-test: planted
# violations are found.
foreach(check check_floors check_names check_size)
  add_test(NAME ${check} COMMAND ${CMAKE_SOURCE_DIR}/tools/${check})
endforeach()
add_test(NAME check_isa COMMAND ${CMAKE_SOURCE_DIR}/tools/check_isa ${CMAKE_BINARY_DIR})
add_test(NAME docs_fresh COMMAND ${CMAKE_SOURCE_DIR}/tools/docs_fresh $<TARGET_FILE:vibee>)
foreach(check check_floors check_names check_size check_isa check_cuda docs_fresh run_docs)
  add_test(NAME ${check}_finds COMMAND ${CMAKE_SOURCE_DIR}/tools/${check} --self-test)
  set_tests_properties(${check}_finds PROPERTIES LABELS layout ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endforeach()
set_tests_properties(check_floors check_names check_size check_isa docs_fresh PROPERTIES LABELS layout ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
if(VIBEE_CUDA_VERSION)
  add_test(NAME check_cuda COMMAND ${CMAKE_SOURCE_DIR}/tools/check_cuda ${CMAKE_BINARY_DIR})
  set_tests_properties(check_cuda PROPERTIES LABELS layout ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endif()

# A technique is added to a copy of the tree as docs/adding.md says.
add_test(NAME try_adding COMMAND ${CMAKE_SOURCE_DIR}/tools/try_adding.sh ${CMAKE_BINARY_DIR})
set_tests_properties(try_adding PROPERTIES LABELS slow TIMEOUT 600)

# The library as its users meet it: installed, built against, run; the pages that show it; the Python package.
add_executable(make_tiny_model ${CMAKE_SOURCE_DIR}/tests/make_tiny_model.cc)
target_link_libraries(make_tiny_model PRIVATE vibee_kit vibee_app_jobs)
add_executable(grammar_probe ${CMAKE_SOURCE_DIR}/tests/grammar_probe.cc)
target_link_libraries(grammar_probe PRIVATE vibee_app_jobs)
add_test(NAME library COMMAND ${CMAKE_SOURCE_DIR}/tests/library.sh ${CMAKE_BINARY_DIR})
set_tests_properties(library PROPERTIES LABELS slow TIMEOUT 300)
# Training over processes, which Open MPI starts.
add_test(NAME ranks COMMAND ${CMAKE_SOURCE_DIR}/tests/ranks.sh $<TARGET_FILE:vibee>)
add_test(NAME resume COMMAND ${CMAKE_SOURCE_DIR}/tests/resume.sh $<TARGET_FILE:vibee> 4)
set_tests_properties(ranks resume PROPERTIES LABELS slow TIMEOUT 300)
# Preloaded into a server that is to meet faults (tests/fault_test.py).
add_library(fault_inject SHARED ${CMAKE_SOURCE_DIR}/tests/fault_inject.cc)
set_target_properties(fault_inject PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib CXX_VISIBILITY_PRESET default)
